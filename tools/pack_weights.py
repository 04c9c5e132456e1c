"""Puts a run's weights into the package: half precision, in files that a repository takes.

    python tools/pack_weights.py RUN/best.safetensors [--name NAME]

Paths in the recipe keep their last folder and name. Weights load by name then:
`hand-mesh evaluate --model NAME`, `-p model:=NAME`. Evaluate them again after packing; that figure
is the one to state, in NAME.md beside them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from hand_mesh_ros.file_hash import list_packaged
from hand_mesh_ros.networks.checkpoint_file import (
    WEIGHTS,
    CheckpointError,
    read_checkpoint_file,
    write_checkpoint_file,
)

MOST_BYTES = 15_970_000
"""Of tensors in one file."""
MOST_BYTES_OF_ALL = 32_000_000


def main() -> int:
    """Pack; 0 when it worked."""
    parser = argparse.ArgumentParser(description="put a run's weights into the package")
    parser.add_argument("weights", type=Path, help="best.safetensors of a run")
    parser.add_argument("--name", help="to load them by (default: the network's)")
    args = parser.parse_args()
    try:
        file = read_checkpoint_file(args.weights)
        name = args.name or file.network
        for old in WEIGHTS.glob(f"{name}.part*.safetensors"):
            old.unlink()
        path = WEIGHTS / f"{name}.safetensors"
        file = replace(file, training=without_folders(file.training))
        write_checkpoint_file(path, file, half=True, most_bytes=MOST_BYTES)
        list_packaged()
    except (CheckpointError, OSError) as error:
        print(f"pack_weights: {error}", file=sys.stderr)
        return 1
    sizes = {f.name: f.stat().st_size for f in sorted(WEIGHTS.glob(f"{name}*.safetensors"))}
    for part, size in sizes.items():
        print(f"{part}: {size / 1e6:.2f} MB")
    if sum(sizes.values()) > MOST_BYTES_OF_ALL:
        print(f"pack_weights: more than {MOST_BYTES_OF_ALL / 1e6:.0f} MB in all", file=sys.stderr)
        return 1
    return 0


def without_folders(recipe: Any) -> Any:
    """The same nested lists and dicts, with the last two parts of absolute paths."""
    if isinstance(recipe, dict):
        return {key: without_folders(value) for key, value in recipe.items()}
    if isinstance(recipe, list):
        return [without_folders(value) for value in recipe]
    if isinstance(recipe, str) and PurePath(recipe).is_absolute():
        return "/".join(PurePath(recipe).parts[-2:])
    return recipe


if __name__ == "__main__":
    sys.exit(main())
