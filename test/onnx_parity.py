"""A network by ONNX Runtime beside itself in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


def both_outputs(
    network: Any, *batches: int
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Tensor]]]:
    """What ONNX Runtime and torch make of a network's example inputs, batch by batch, by one graph.

    Skips the test by name where the onnx extra is not installed.
    """
    pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    from hand_mesh_ros.backends.typed_network import network_spec
    from hand_mesh_ros.export.onnx_export import to_onnx

    spec = network_spec(network.eval(), max_batch=max(4, *batches))
    assert [s.name for s in spec.inputs] == list(network.example_inputs(1))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        to_onnx(network, spec), options, providers=["CPUExecutionProvider"]
    )
    names = [s.name for s in spec.outputs]
    for batch in batches:
        inputs = network.example_inputs(batch)
        with torch.no_grad():
            expected = network(**inputs)
        assert set(names) == set(expected)
        found = session.run(names, {name: values.numpy() for name, values in inputs.items()})
        yield dict(zip(names, found, strict=True)), expected


def assert_onnx_agrees(network: Any, *batches: int, atol: float = 1e-4) -> dict[str, Tensor]:
    """All outputs of all batches; returns torch's of the last one."""
    expected: dict[str, Tensor] = {}
    for found, expected in both_outputs(network, *batches):
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], atol=atol, rtol=0, err_msg=name)
    return expected
