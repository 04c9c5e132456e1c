"""A network as ONNX, by torch's exporter, with what has to be known to feed it."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hand_mesh_ros.backends.base import BackEndError, EngineSpec, Precision, first_line
from hand_mesh_ros.backends.typed_network import exported_program

_ENTRY = "hand_mesh_ros"
_OPSETS: dict[Precision, int] = {"fp32": 18, "fp16": 18, "bf16": 22}
"""The lowest that torch writes, for old runtimes; convolutions in bfloat16 came with 22."""
_LIMIT_BYTES = 2**31 - 2**20
"""A protobuf cannot be larger than 2 GiB."""


def to_onnx(
    network: nn.Module, spec: EngineSpec, *, about: Mapping[str, Any] | None = None
) -> bytes:
    """One ONNX model with its weights inside; names, types and batch range are those of `spec`.

    Args:
        network: in any mode, on the CPU.
        spec: of `network_spec`.
        about: JSON values (network, config, preprocessing, ...) to store in the model.

    Raises:
        BackEndError: torch cannot export this network, or it is larger than a protobuf can be.
    """
    traced = exported_program(network, spec)
    size = sum(x.numel() * x.element_size() for x in traced.state_dict.values())
    if size > _LIMIT_BYTES:
        raise BackEndError(f"ONNX: {size / 1e9:.1f} GB of weights do not fit into one 2 GB file")
    with _quiet():
        try:
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=_OPSETS[spec.precision],
                input_names=[s.name for s in spec.inputs],
                output_names=[s.name for s in spec.outputs],
                verbose=False,
            )
        except Exception as error:  # the exporter's own errors have no common class
            raise BackEndError(f"ONNX export failed: {first_line(error)}") from error
    if program is None:
        raise BackEndError("ONNX export gave no program; expected torch 2.5 or newer")
    model = program.model_proto
    _name_batch(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = _ENTRY, json.dumps(dict(about or {}), sort_keys=True)
    return model.SerializeToString()


def _name_batch(model: Any) -> None:
    """Call the batch by its name wherever the exporter has a number for it."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if symbol and dim.dim_param == symbol:
                dim.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about libraries that we do not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
