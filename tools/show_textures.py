"""A sheet of AMVUR's hands: the crop, its texture as seen and from the other side, its deviations.

    python tools/show_textures.py [CHECKPOINT] --hands 12 --out sheet.png

The hands are rendered ones that training has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.amvur import AMVUR
from hand_mesh_ros.networks.checkpoint import load_network
from hand_mesh_ros.training.engine_crops import EngineCrops
from hand_mesh_ros.training.landmark_noise import LandmarkNoise
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.texture_rendering import render_hands
from hand_mesh_ros.viewer.palette import uncertainty_rgb

PANEL_PX = 128
BACKDROP = 0.92
_SEED, _BANK_SEED = 11, 0x7A11E
_MIDDLE_UV = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default="amvur")
    parser.add_argument("--hands", type=int, default=12, metavar="N")
    parser.add_argument("--columns", type=int, default=3, help="hands in a row")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    args = parser.parse_args()
    model = load_open_hand()
    network = load_network(args.checkpoint, model).network
    assert isinstance(network, AMVUR), f"{args.checkpoint} is a {type(network).__name__}"
    config = SyntheticConfig(
        size_px=network.config.image_size_px, bank_size=4 * args.hands, bank_seed=_BANK_SEED
    )
    engine = EngineCrops(model, config, LandmarkNoise.load(held_out=True), template_size=True)
    batch = engine.batch(args.hands, np.random.default_rng(_SEED), torch.device("cpu"))
    inputs = {name: batch[name] for name in ("image", "landmark_cue")}
    with torch.inference_mode():
        out = network(**inputs)
    faces = torch.tensor(model.faces.astype(np.int64))
    vertices, camera, colors = out["vertices_m"], out["camera"], out["vertex_colors"]
    deviations = torch.from_numpy(
        np.stack([uncertainty_rgb(s) for s in out["vertex_stddev_m"].numpy()]) / np.float32(255.0)
    )
    panels = [
        batch["image"],
        drawn(vertices, camera, colors, faces),
        drawn(*turned(vertices, camera), colors, faces),
        drawn(vertices, camera, deviations, faces),
    ]
    cells = torch.cat(panels, dim=3)  # (N, 3, S, 4 S)
    rows = [
        torch.cat(list(cells[i : i + args.columns]), dim=2)
        for i in range(0, len(cells) // args.columns * args.columns, args.columns)
    ]
    sheet = (255.0 * torch.cat(rows, dim=1)).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(args.out), sheet[:, :, ::-1])
    print(f"{args.out}: crop, texture as seen and from behind, deviations (yellow: 20 mm or more)")


def drawn(vertices: Tensor, camera: Tensor, colors: Tensor, faces: Tensor) -> Tensor:
    """(N, 3, S, S) of meshes alone."""
    made = render_hands(vertices, camera, colors, faces, PANEL_PX)
    return torch.where(made.mask[:, None], made.image, torch.tensor(BACKDROP))


def turned(vertices: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
    """The same hands seen from behind, in the middle of the picture."""
    about = vertices - vertices.mean(1, keepdim=True)
    behind = about * torch.tensor([-1.0, 1.0, -1.0])
    middle = camera.clone()
    middle[:, 1:3] = _MIDDLE_UV
    return behind, middle


if __name__ == "__main__":
    main()
