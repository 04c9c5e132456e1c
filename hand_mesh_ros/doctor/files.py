"""Weights, hand model, engine cache and calibration, as the parameters name them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hand_mesh_ros.assembly import IMAGE_NETWORKS
from hand_mesh_ros.backends.engine_cache import EngineCache
from hand_mesh_ros.doctor.finding import Finding, failure, ok, skipped, warning
from hand_mesh_ros.hand_calibration import load_calibrations
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    check_hand_model,
    checkpoint_path,
    read_checkpoint_file,
)
from hand_mesh_ros.ros.parameters import NodeParameters

LEAST_FREE_BYTES = 2 * 1000**3
"""An engine has some hundred MB, and is written beside the old one."""


def load_hand_model(parameters: NodeParameters) -> HandModel:
    """As the node loads it; raises OSError and ValueError."""
    if parameters.hand_model == "mano":
        return load_mano(Path(parameters.mano_dir))
    return load_open_hand()


def hand_model(parameters: NodeParameters) -> Finding:
    """Whether the hand that meshes are made of can be read."""
    try:
        model = load_hand_model(parameters)
    except (OSError, ValueError, ImportError) as error:
        mend = "parameter mano_dir: the folder with MANO_RIGHT.pkl, from its website"
        return failure("hand model", str(error), mend)
    return ok("hand model", f"{model.name}, {len(model.template_m)} vertices")


def checkpoint(parameters: NodeParameters) -> Finding:
    """Whether the model's weights can be read, and are made for this hand."""
    if parameters.model == "landmark_fit":
        return skipped("checkpoint", "landmark_fit needs no weights")
    if parameters.model not in ("lifter", *IMAGE_NETWORKS):
        known = ", ".join(("lifter", "landmark_fit", *IMAGE_NETWORKS))
        return failure("checkpoint", f"no model {parameters.model!r}", f"-p model:= one of {known}")
    try:
        path = checkpoint_path(parameters.checkpoint or parameters.model)
        file = read_checkpoint_file(path)
        check_hand_model(file, load_hand_model(parameters))
    except CheckpointError as error:
        mend = "-p checkpoint:=FILE.safetensors that fits, or install the package again"
        return failure("checkpoint", str(error), mend)
    except (OSError, ValueError, ImportError) as error:
        return skipped("checkpoint", f"the hand model cannot be read: {error}")
    return ok("checkpoint", f"{path.name}: {file.network} for {file.hand_model}")


def engine_cache(parameters: NodeParameters) -> Finding:
    """Whether engines that take minutes to build can be kept."""
    folder = EngineCache(parameters.engine_cache_dir or None).folder
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    mend = "export HAND_MESH_CACHE=FOLDER that can be written, or parameter engine_cache_dir"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        text = f"{folder} cannot be written: engines are built at every start"
        return warning("engine cache", text, mend)
    free_bytes = shutil.disk_usage(nearest).free
    if free_bytes < LEAST_FREE_BYTES:
        text = f"{folder} has {free_bytes / 1e9:.1f} GB left"
        return warning("engine cache", text, f"free {LEAST_FREE_BYTES / 1e9:.0f} GB, or {mend}")
    return ok("engine cache", f"{folder}, {free_bytes / 1e9:.0f} GB free")


def calibration(parameters: NodeParameters) -> Finding:
    """Whether the file of hands' shapes and sizes can be read."""
    if not parameters.hand_calibration_file:
        return skipped("hand calibration", "parameter hand_calibration_file is empty")
    path = Path(parameters.hand_calibration_file)
    if not path.exists():
        return ok("hand calibration", f"{path} will be made by ~/calibrate_hand")
    try:
        sides = load_calibrations(path, load_hand_model(parameters))
    except (OSError, ValueError) as error:
        return failure("hand calibration", str(error), f"calibrate again, or delete {path}")
    return ok("hand calibration", ", ".join(side.name.lower() for side in sides))
