import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from hand_samples import small_hand_model
from toy_training import Toy, ToyConfig, ToyTask

from hand_mesh_ros.networks import registry
from hand_mesh_ros.training import task

PACKAGE = Path(registry.__file__).parents[1]


def modules_with(folder: str, decorator: str) -> set[str]:
    """Those of the folder's modules that have the decorator."""
    files = (PACKAGE / folder).glob("*.py")
    found = {f.stem for f in files if re.search(rf"^@{decorator}\(", f.read_text(), re.MULTILINE)}
    return {f"hand_mesh_ros.{folder}.{stem}" for stem in found}


def test_tables_name_every_module_that_registers_something():
    assert modules_with("networks", "register_network") == set(registry._FILES.values())
    assert modules_with("training", "register_task") == set(task._FILES.values())


@pytest.mark.parametrize("name", sorted(registry._FILES))
def test_a_network_is_registered_by_its_file(name):
    entry = registry.network_entry(name)
    assert entry.name == name
    assert issubclass(entry.module, torch.nn.Module)
    assert hasattr(entry.module, "example_inputs")


@pytest.mark.parametrize("name", sorted(task._FILES))
def test_a_task_is_registered_by_its_file(name):
    entry = task.task_entry(name)
    assert entry.name == name
    assert isinstance(entry.network_config, registry.network_entry(entry.network).config)
    assert entry.task.__doc__


def test_a_network_is_built_from_its_config_and_hand_model():
    assert registry.network_entry("toy").module is Toy
    assert task.task_entry("toy").task is ToyTask
    network = registry.build_network("toy", ToyConfig(width=3), small_hand_model())
    assert network.num_vertices == 60
    out = network.eval()(**network.example_inputs(4))
    assert {name: tuple(t.shape) for name, t in out.items()} == {"y": (4, 1)}
    assert sum(p.numel() for p in network.parameters()) == 3 + 3 + 3 + 3 + 3 + 1


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"network 'tyo' is unknown, expected one of: .*\btoy\b"):
        registry.network_entry("tyo")
    with pytest.raises(ValueError, match=r"task 'tyo' is unknown, expected one of: .*\btoy\b"):
        task.task_entry("tyo")


def test_another_networks_config_is_refused():
    @dataclass(frozen=True)
    class Other:
        width: int = 8

    with pytest.raises(TypeError, match="'toy' takes a ToyConfig, got a Other"):
        registry.build_network("toy", Other(), small_hand_model())


def test_names_need_neither_torch_nor_a_network():
    program = (
        "import sys; from hand_mesh_ros.networks.registry import network_names;"
        "from hand_mesh_ros.training.task import task_names; network_names(), task_names();"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('hand_mesh_ros.networks.')];"
        "sys.exit(bad != ['hand_mesh_ros.networks.registry'] and f'imported: {bad}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
