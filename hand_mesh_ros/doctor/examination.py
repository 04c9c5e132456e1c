"""All checks in their order; one that fails itself is a finding, and stops no other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from hand_mesh_ros.backends.accelerators import find_accelerators
from hand_mesh_ros.doctor import cameras, computing, files, middleware, software
from hand_mesh_ros.doctor.finding import Finding, failure, skipped
from hand_mesh_ros.doctor.listening import HeardTopic
from hand_mesh_ros.ros.parameters import NodeParameters

Check = Callable[[], Finding | list[Finding]]


def examine(
    parameters: NodeParameters,
    environment: Mapping[str, str],
    listen: Callable[[], list[HeardTopic]] | None,
) -> Iterator[Finding]:
    """Every finding as it is made.

    Args:
        parameters: the node's.
        environment: as `os.environ`.
        listen: listens to cameras; None: they are not to be looked at.
    """
    found = software.installed(("mediapipe", "cyclonedds", "rosbags"))
    yield from _run("python", lambda: software.python(sys.version_info[:3], environment))
    has_cv_bridge = software.has_module("cv_bridge")
    yield from _run("numpy", lambda: software.numpy(np.__version__, has_cv_bridge=has_cv_bridge))
    yield from _run("opencv", lambda: software.opencv(software.installed(software.OPENCVS)))
    yield from _run("detector", lambda: software.detector(found))
    yield from _run("dds", lambda: software.without_ros(found))
    yield from _run("gpu", _computing)
    yield from _run("rmw", lambda: middleware.rmw(environment))
    yield from _run("domain", lambda: middleware.domain(environment))
    yield from _run("sockets", middleware.sockets_here)
    yield from _run("hand model", lambda: files.hand_model(parameters))
    yield from _run("checkpoint", lambda: files.checkpoint(parameters))
    yield from _run("engine cache", lambda: files.engine_cache(parameters))
    yield from _run("hand calibration", lambda: files.calibration(parameters))
    if listen is None:
        yield skipped("cameras", "--listen 0")
    elif "cyclonedds" not in found:
        yield skipped("cameras", "listening needs Cyclone DDS", "pip install cyclonedds")
    else:
        yield from _run("cameras", lambda: _cameras(listen, parameters))


def _computing() -> list[Finding]:
    found = find_accelerators()
    return [computing.gpu(found), computing.tensorrt(found), computing.onnxruntime(found)]


def _cameras(listen: Callable[[], list[HeardTopic]], parameters: NodeParameters) -> list[Finding]:
    heard = listen()
    return [
        *cameras.images(heard),
        *cameras.calibrations(heard),
        *cameras.clocks(heard, parameters.safety_max_future_s),
    ]


def _run(name: str, check: Check) -> list[Finding]:
    """The check's findings, or one that says why there are none."""
    try:
        answer = check()
    except Exception as error:  # the doctor has to come to an end on a machine that is ill
        text = f"cannot be looked at: {type(error).__name__}: {error}"
        return [failure(name, " ".join(text.split()), "that is what is wrong, or a bug: tell us")]
    return answer if isinstance(answer, list) else [answer]
