"""From a network to a checked, cached engine in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hand_mesh_ros.backends.base import AUTO, BackEndError, EngineOptions
from hand_mesh_ros.backends.choose import LAST_RESORT, ChosenBackEnd, choose_backend
from hand_mesh_ros.backends.engine_cache import EngineCache
from hand_mesh_ros.backends.kinds import EngineRequest, EngineSource
from hand_mesh_ros.backends.progress import Log
from hand_mesh_ros.backends.steady_backend import SteadyBackEnd
from hand_mesh_ros.backends.typed_network import network_spec


def open_backend(
    name: str, network: nn.Module, config: Any, options: EngineOptions, *, log: Log = print
) -> SteadyBackEnd:
    """The engine of a network, ready for batches of 1 to `max_batch`, and a reserve on the CPU.

    Args:
        name: of the network, in the registry.
        network: on the CPU; left as it is.
        config: the network's config dataclass.
        options: how to run it.
        log: gets a line about each build, refusal and choice.

    Raises:
        BackEndError: no such back-end or device, or none can run this network.
    """
    network = network.eval()
    request = EngineRequest(
        source=EngineSource(name, network, config),
        spec=network_spec(network, precision=options.precision, max_batch=options.max_batch),
        device=torch_device(options.device),
        cache=EngineCache(options.cache_dir, log=log),
        threads=options.threads,
    )
    chosen = choose_backend(options.backend, request, log=log)
    return SteadyBackEnd(chosen, _reserve(chosen, request, log), log=log)


def _reserve(
    chosen: ChosenBackEnd, request: EngineRequest, log: Log
) -> Callable[[], ChosenBackEnd] | None:
    """What takes over: the fastest on the CPU, where that fails plain torch."""
    on_cpu = replace(
        request, device=torch.device("cpu"), spec=replace(request.spec, precision="fp32")
    )
    if request.device.type != "cpu":
        return lambda: choose_backend(AUTO, on_cpu, log=log)
    if chosen.backend.name == f"{LAST_RESORT} (CPU)" and chosen.backend.spec.precision == "fp32":
        return None
    return lambda: choose_backend(LAST_RESORT, on_cpu, log=log)


def torch_device(name: str) -> torch.device:
    """A device by name; "auto" is the GPU where there is one.

    Raises:
        BackEndError: no such device here.
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackEndError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise BackEndError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise BackEndError(f"device is {name!r}, this torch sees {count} NVIDIA GPUs")
    return torch.device("cuda", device.index or 0)
