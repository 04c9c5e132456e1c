import builtins
import json
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import pytest

pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import yaml
from toy_training import TRAINER, ToyTask

from hand_mesh_ros.cli.main import main
from hand_mesh_ros.training.config import HandConfig, TrainerConfig
from hand_mesh_ros.training.typed_config import (
    ConfigError,
    config_from_plain,
    config_to_plain,
    parse_assignments,
)

SHORT = ["--set", "trainer.steps=4", "trainer.val_every_steps=2"]


def test_training_from_the_command_line(tmp_path, capfd):
    folder, report_file = tmp_path / "run", tmp_path / "r.json"
    file = tmp_path / "run.yaml"
    file.write_text("network: {width: 3}\ntrainer: {steps: 9, learning_rate: 1e-3}\n")
    options = ["--config", str(file), "--run-dir", str(folder), "--report", str(report_file)]
    assert main(["train", "toy", *options, *SHORT, "--set", "task.slope=-1"]) == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["name"] == "toy"
    assert config["network"] == {"width": 3, "dropout": 0.02}
    assert config["task"]["slope"] == -1.0
    assert config["trainer"]["steps"] == 4  # the command line comes after the file
    assert config["trainer"]["learning_rate"] == 1e-3
    assert config["trainer"]["warmup_steps"] == TRAINER.warmup_steps
    report = json.loads(report_file.read_text())
    assert (report["task"], report["steps"], report["finished"]) == ("toy", 4, True)
    assert report["figures"].keys() == {"error_mm"}
    assert report["weights"] == str(folder / "best.safetensors")
    assert report["run_dir"] == str(folder)
    assert report["seconds"] > 0.0
    said = capfd.readouterr()
    assert said.err == "", "Lightning's tips and warnings say nothing to the user"
    lines = said.out.splitlines()
    assert re.match(r"step 2/4  loss \S+  error_mm \S+$", lines[0])
    assert lines[-1] == f"weights: {folder}/best.safetensors"
    assert len(lines) == 4


def test_the_stored_config_reproduces_the_run(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["train", "toy", "--run-dir", str(one), *SHORT]) == 0
    stored = ["--config", str(one / "config.yaml")]
    assert main(["train", "toy", "--run-dir", str(two), *stored]) == 0
    for name in ("config.yaml", "best.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_ctrl_c_says_how_to_go_on_and_resume_does(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    losses = ToyTask.losses

    def interrupted(self, batch, *, step):
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        return losses(self, batch, step=step)

    monkeypatch.setattr(ToyTask, "losses", interrupted)
    assert main(["train", "toy", "--run-dir", str(folder), *SHORT]) == 130
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"to go on: hand-mesh train --resume {folder}"
    monkeypatch.undo()
    report = tmp_path / "r.json"
    resumed = ["train", "--resume", str(folder), "--set", "trainer.steps=6"]
    assert main([*resumed, "--report", str(report)]) == 0
    assert json.loads(report.read_text())["steps"] == 6
    assert main(resumed) == 1
    assert "has done its 6 steps" in capsys.readouterr().err


def test_a_run_without_a_folder_of_its_own_gets_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "toy", "--set", "trainer.steps=1"]) == 0
    (folder,) = (tmp_path / "out/train").iterdir()
    assert re.fullmatch(r"toy_\d{8}_\d{6}", folder.name)
    assert (folder / "best.safetensors").is_file()


def test_preview_writes_a_sheet_and_trains_nothing(tmp_path, capsys):
    path = tmp_path / "sheet.png"
    assert main(["train", "toy", "--preview", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert cv2.imread(str(path))[0, 0].tolist() == [0, 0, 255]
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_list_names_the_tasks_and_their_options(capsys):
    assert main(["train", "--list"]) == 0
    assert re.search(r"^toy +Learn a line\.$", capsys.readouterr().out, re.MULTILINE)
    assert main(["train", "toy", "--list", "--set", "network.width=77"]) == 0
    text = capsys.readouterr().out
    assert "  # optimiser steps\n  steps: 120\n" in text
    assert yaml.safe_load(text)["network"]["width"] == 77


def test_help_names_the_tasks(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"task, one of: .*\btoy\b", said, re.DOTALL)
    assert "--resume" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], r"which task\? One of: .*toy"),
        (["tyo"], "task 'tyo' is unknown, expected one of: .*toy"),
        (["toy", "--set", "trainer.stepz=3"], "trainer.stepz is unknown; did you mean 'steps'"),
        (["toy", "--set", "network.depth=3"], "network.depth is unknown; network has: width, drop"),
        (["toy", "--set", "model.width=3"], "model is unknown; a run's config has: name, hand"),
        (["toy", "--set", "trainer.steps=many"], "trainer.steps is 'many', expected an integer"),
        (["toy", "--set", "trainer.steps=0"], "trainer: steps is 0, expected 1 or more"),
        (["toy", "--set", "network.width=-2"], "network: width is -2, expected 1 or more"),
        (["toy", "--set", "trainer.precision=8"], "trainer.precision is 8, expected one of '32-"),
        (["toy", "--set", "trainer=3"], "trainer is 3, expected a section with keys"),
        (["toy", "--set", "steps"], r"'steps' is no assignment, expected section\.key=value"),
        (["toy", "--set", "hand.model=mano"], r"hand: mano_dir is '', expected the folder of MANO"),
        (["toy", "--config", "/none.yaml"], r"/none\.yaml: No such file or directory"),
        (["toy", "--report", "/no/such/r.json"], r"--report /no/such/r\.json: no such folder"),
        (["toy", "--preview", "/no/such/p.png"], r"--preview /no/such/p\.png: no such folder"),
        (["--resume", "/no/run"], r"/no/run/config\.yaml: No such file"),
        (["toy", "--resume", "/no", "--run-dir", "/no"], "--resume takes folder and config from"),
        (
            ["toy", "--resume", "/no", "--set", "task.slope=1"],
            r"resumed can only change trainer\.\*",
        ),
    ],
)
def test_wrong_calls_say_what_is_wrong_in_one_line(options, says, capsys):
    assert main(["train", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hand-mesh train: ")
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "expected sections with keys, got list"),
        ("a: [1", "not readable YAML"),
        ("!!python/object/apply:os.getcwd []", "not readable YAML"),
        ("name: other", "the config is of task 'other', not of 'toy'"),
    ],
)
def test_config_files_that_are_none_are_refused(tmp_path, capsys, text, says):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert main(["train", "toy", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["hand.model=mano", "hand.mano_dir=/none"], "hand: /none: no MANO_RIGHT.pkl here"),
        (["task.nan_at_step=1"], "step 1: the loss is not finite"),
        (["trainer.strategy=wishful"], "trainer: "),
    ],
)
def test_failures_are_one_line_and_exit_code_1(tmp_path, capsys, options, says):
    folder = tmp_path / "run"
    assert main(["train", "toy", "--run-dir", str(folder), *SHORT, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hand-mesh train: {says}")


def test_a_preview_that_cannot_be_is_refused(tmp_path, capsys, monkeypatch):
    assert main(["train", "toy", "--preview", str(tmp_path / "sheet.xyz")]) == 2
    assert "cannot be written, expected a .png or .jpg" in capsys.readouterr().err
    monkeypatch.delattr(ToyTask, "preview")
    assert main(["train", "toy", "--preview", str(tmp_path / "sheet.png")]) == 2
    assert "ToyTask has no pictures of its samples" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["lightning", "torch", "tensorboard"])
def test_a_missing_extra_gets_its_install_line(library, capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.startswith("hand_mesh_ros.training.trainer")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("lightning_task", "callbacks"):
        monkeypatch.delitem(sys.modules, f"hand_mesh_ros.training.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["train", "toy"]) == 2
    line = capsys.readouterr().err
    assert line == f"hand-mesh train: training needs {library}: pip install hand_mesh_ros[train]\n"


@dataclass(frozen=True)
class Inner:
    width: int = 1


@dataclass(frozen=True)
class Options:
    flag: bool = False
    ratio: float = 0.5
    sizes: tuple[int, ...] = (1,)
    pair: tuple[float, float] = (0.0, 1.0)
    mode: Literal["a", "b", 3] = "a"
    limit: int | None = None
    folder: Path = Path()
    parts: dict[str, float] = field(default_factory=dict)
    inner: Inner = Inner()


def test_types_of_options():
    def options(**values):
        return config_from_plain(Options, values, "task")

    good = options(
        ratio=1, sizes=[3, 4], pair=["1e-3", 2], mode=3, limit=5, folder="/x", parts={"a": 1}
    )
    assert (good.ratio, good.sizes, good.pair, good.mode) == (1.0, (3, 4), (0.001, 2.0), 3)
    assert (good.limit, good.folder, good.parts) == (5, Path("/x"), {"a": 1.0})
    assert isinstance(good.ratio, float)
    assert config_from_plain(Options, config_to_plain(good), "task") == good
    assert options(limit=None, inner={"width": 7}).inner.width == 7
    for values, says in (
        ({"flag": 1}, "task.flag is 1, expected true or false"),
        ({"ratio": True}, "task.ratio is True, expected a number"),
        ({"sizes": 3}, "task.sizes is 3, expected a list"),
        ({"sizes": [1, 2.5]}, "task.sizes[1] is 2.5, expected an integer"),
        ({"pair": [1]}, "task.pair has 1 entries, expected 2"),
        ({"mode": "c"}, "task.mode is 'c', expected one of 'a', 'b', 3"),
        ({"limit": "x"}, "task.limit is 'x', expected an integer"),
        ({"parts": {"a": "x"}}, "task.parts.a is 'x', expected a number"),
        ({"inner": {"width": None}}, "task.inner.width is None, expected an integer"),
        ({"inner": {"depth": 1}}, "task.inner.depth is unknown; task.inner has: width"),
    ):
        with pytest.raises(ConfigError, match=re.escape(says)):
            options(**values)


def test_assignments_nest_and_are_read_as_yaml():
    texts = ["a.b=1", "a.c=[1, x]", "d=null", "a.e.f=true", "a.b=2"]
    expected = {"a": {"b": 2, "c": [1, "x"], "e": {"f": True}}, "d": None}
    assert parse_assignments(texts) == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"betas": (0.9, 1.0)}, r"betas is \(0.9, 1.0\)"),
        ({"milestones": (0.0,)}, r"milestones is \(0.0,\)"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0, expected 0 to 0.99999"),
    ],
)
def test_impossible_values_are_refused(values, says):
    with pytest.raises(ValueError, match=says):
        TrainerConfig(**values)
    assert HandConfig().load().name == "open_hand"
