"""What each effect of the image engine is worth on photographs: short trainings with and without.

    python tools/ablate_engine.py FOLDER --steps 300 --without clutter --without veins,hair

Every training starts from the package's weights and gets the same seed, poses and number of steps;
only the named effects (fields of `SyntheticConfig`) are off. FOLDER has photographs with a hand
each; of NAME_img.jpg, NAME_K.npy is the camera's (3, 3) matrix, others are taken as 60 degrees
wide. Prints a Markdown table: the error of 2D landmarks against the detector's, in percent of the
crop's side, and how far the hands of one photograph's crops are from their mean, in mm.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.cropping import CropView, aim_crop, crop_image
from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.evaluation.metrics import distances_m, procrustes_aligned
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.vertex_keypoints import vertex_keypoint_weights
from hand_mesh_ros.networks.checkpoint import LoadedNetwork, load_network
from hand_mesh_ros.sources.files import list_images
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.datasets.image_file import read_image
from hand_mesh_ros.training.image_task import ImageTask
from hand_mesh_ros.training.synthetic_config import SyntheticConfig
from hand_mesh_ros.training.task import task_entry

FOV_DEG = 60.0
ROTATION_DEG, SCALE, GAIN, GAMMA = 20.0, (0.85, 1.2), (0.7, 1.35), (0.8, 1.25)
"""Ranges of the crops' augmentation, over how live crops are cut."""
_CROPS_SEED = 0xAB1A7E
_MEAN_ROUNDS = 4
_WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True, eq=False)
class PhotographCrops:
    """P photographs, A crops of each."""

    image: torch.Tensor
    """(P A, 3, S, S) sRGB, 0 to 1."""
    landmarks_uv: np.ndarray
    """(P, A, 21, 2) the detector's, crop units."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Of P photographs."""

    error_percent: np.ndarray
    """(P,) median over landmarks and crops, of the crop's side."""
    scatter_mm: np.ndarray
    """(P,) mean distance of a photograph's hands from their mean hand, Procrustes-aligned."""


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, start = load_open_hand(), load_network(args.network, load_open_hand())
    crops = photograph_crops(args.folder, start.config.image_size_px, args.crops)
    effects = [tuple(names.split(",")) for names in args.without]
    variants: list[tuple[str, tuple[str, ...]]] = [("everything", ())]
    variants += [("without " + ", ".join(names), names) for names in effects]
    if len(effects) > 1:
        variants.append(("without all of these", tuple({n for names in effects for n in names})))
    print(_HEADER)
    print(_row("as it is, not trained", measured(start, model, crops, device), None), flush=True)
    everything = None
    for name, off in variants:
        begin = time.perf_counter()
        network = trained(args, model, off, device)
        found = measured(network, model, crops, device)
        print(_row(name, found, everything), flush=True)
        everything = everything or found
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)


def photograph_crops(folder: Path, size_px: int, number: int) -> PhotographCrops:
    """Crops around the first hand of each photograph that has one, cut as live use does.

    Raises:
        SystemExit: no photograph has a hand.
    """
    rng = np.random.default_rng(_CROPS_SEED)
    images, landmarks = [], []
    for path in list_images(folder):
        image, detector = read_image(path, upright=True), MediaPipeHands(max_hands=1)
        hands = detector.detect(image, 0)
        detector.close()
        camera = _camera_of(path, image)
        view = None
        if hands:
            rays = camera.rays(hands[0].keypoints_px)
            view = aim_crop(rays, hands[0].side, size_px=size_px)
        if view is None:
            print(f"{path.name}: no hand found, left out")
            continue
        views = [_varied(view, rng) for _ in range(number)]
        images += [_exposed(crop_image(image, camera, v), rng) for v in views]
        landmarks.append([(v.from_rays(rays) + 0.5) / size_px for v in views])
    if not images:
        raise SystemExit(f"{folder}: no photograph in which the detector finds a hand")
    stacked = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    return PhotographCrops(torch.from_numpy(stacked), np.array(landmarks))


def _camera_of(path: Path, image: np.ndarray) -> Camera:
    height, width = image.shape[:2]
    matrix = path.with_name(path.stem.removesuffix("_img") + "_K.npy")
    if matrix.exists():
        return Camera(width, height, np.load(matrix, allow_pickle=False).astype(np.float64))
    return Camera.from_fov(width, height, FOV_DEG)


def _varied(view: CropView, rng: np.random.Generator) -> CropView:
    """The same hand, turned about the line of sight, nearer or farther."""
    angle = np.radians(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    focal = view.focal_px * rng.uniform(*SCALE)
    return replace(view, focal_px=focal, R_camera_view=view.R_camera_view @ turn)


def _exposed(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3) 0 to 1, with another brightness."""
    bright = crop / 255.0 * rng.uniform(*GAIN)
    return bright.clip(0.0, 1.0) ** rng.uniform(*GAMMA)


def trained(
    args: argparse.Namespace, model: HandModel, off: Sequence[str], device: torch.device
) -> LoadedNetwork:
    """The package's network after some more steps on images without the effects `off`."""
    torch.manual_seed(args.seed)
    loaded = load_network(args.network, model)
    entry = task_entry(args.network)
    switched_off: dict[str, Any] = dict.fromkeys(off, 0.0)
    images = SyntheticConfig(bank_size=args.bank, **switched_off)
    options = replace(entry.options, images=images)
    task: Any = entry.task(
        loaded.network.to(device), options, model=model, batch_size=args.batch_size
    )
    assert isinstance(task, ImageTask), f"{args.network} is not trained on the engine's images"
    _train(task, entry.trainer, args, device)
    loaded.network.eval()
    return loaded


def _train(
    task: ImageTask, usual: TrainerConfig, args: argparse.Namespace, device: torch.device
) -> None:
    """As the trainer does, without its files; batches are decided by the seed alone."""
    for module in (task.network, *task.extra_modules().values()):
        module.to(device).train()
    groups = task.parameter_groups(usual.weight_decay)
    slower = args.learning_rate / usual.learning_rate  # also for groups with their own rate
    for group in groups:
        group["lr"] = slower * group.get("lr", usual.learning_rate)
    optimizer = torch.optim.AdamW(groups, betas=usual.betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: _rate(k, args.steps))
    batches: Any = task.batches(BatchStream("train", device, seed=args.seed))
    for step, batch in zip(range(args.steps), batches, strict=False):
        # Beyond any pre-training that a task may begin with.
        with torch.autocast(device.type, torch.bfloat16, enabled=usual.precision == "bf16-mixed"):
            losses = task.losses(batch, step=10**9 + step)
        loss = torch.stack([term.float() for term in losses.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.network.parameters(), usual.gradient_clip_norm)
        optimizer.step()
        schedule.step()
        task.after_step(step + 1)
    batches.close()


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: up in a line, down in half a cosine."""
    place = (step + 1) / (steps + 1)
    return min(place / _WARMUP, 0.5 + 0.5 * np.cos(np.pi * place))


def measured(
    loaded: LoadedNetwork, model: HandModel, crops: PhotographCrops, device: torch.device
) -> tuple[Measured, Measured]:
    """Without the landmark cue, and with it."""
    results = []
    loaded.network.to(device)
    for weight in (0.0, 1.0):
        uv, vertices_m = _hands(loaded, model, crops, weight, device)
        error = 100.0 * np.linalg.norm(uv - crops.landmarks_uv, axis=-1)  # (P, A, 21)
        scatter_mm = np.array([1e3 * _scatter_m(hands) for hands in vertices_m])
        results.append(Measured(np.median(error, axis=(1, 2)), scatter_mm))
    return results[0], results[1]


@torch.inference_mode()
def _hands(
    loaded: LoadedNetwork,
    model: HandModel,
    crops: PhotographCrops,
    cue_weight: float,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """(P, A, 21, 2) crop units of the detector's landmarks as found, and (P, A, V, 3) m."""
    uv = torch.from_numpy(crops.landmarks_uv.astype(np.float32)).flatten(0, 1)
    cue = torch.cat([uv, torch.full_like(uv[..., :1], cue_weight)], dim=2)
    parts: list[dict[str, np.ndarray]] = []
    for image, points in zip(crops.image.split(32), cue.split(32), strict=True):
        out = loaded.network(image=image.to(device), landmark_cue=points.to(device))
        parts.append({k: out[k].double().cpu().numpy() for k in ("keypoints_uv", "vertices_m")})
    found_uv, vertices = (np.concatenate([p[k] for p in parts]) for k in parts[0])
    wanted = vertex_keypoint_weights(model, "detector") @ vertices
    own = vertex_keypoint_weights(model, loaded.config.keypoints) @ vertices
    # Where its landmarks are others than the detector's, the mesh says how far they lie apart.
    found_uv = found_uv + _uv_per_m(own, found_uv)[:, None, None] * (wanted - own)[..., :2]
    shape = crops.landmarks_uv.shape[:2]
    return found_uv.reshape(*shape, 21, 2), vertices.reshape(*shape, -1, 3)


def _uv_per_m(points_m: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N,) least squares scale from x and y of (N, 21, 3) to (N, 21, 2)."""
    flat = points_m[..., :2] - points_m[..., :2].mean(1, keepdims=True)
    seen = uv - uv.mean(1, keepdims=True)
    return (flat * seen).sum((1, 2)) / (flat * flat).sum((1, 2))


def _scatter_m(hands_m: np.ndarray) -> float:
    """Mean distance of (A, V, 3) hands from their mean hand, each laid on it."""
    aligned, mean = hands_m, hands_m[0]
    for _ in range(_MEAN_ROUNDS):
        aligned = procrustes_aligned(hands_m, np.broadcast_to(mean, hands_m.shape))
        mean = aligned.mean(0)
    return float(distances_m(aligned, mean).mean())


_HEADER = (
    "| engine | 2D error %, no cue | against everything | worse on | scatter mm, no cue "
    "| 2D error %, cue | scatter mm, cue |\n|---|---|---|---|---|---|---|"
)


def _row(
    name: str, found: tuple[Measured, Measured], everything: tuple[Measured, Measured] | None
) -> str:
    """Medians over the photographs; the difference is of the same photographs, with its error."""
    bare, cued = found
    apart = worse = ""
    if everything is not None:
        change = bare.error_percent - everything[0].error_percent
        apart = f"{change.mean():+.2f} ± {change.std() / max(len(change) - 1, 1) ** 0.5:.2f}"
        worse = f"{(change > 0).sum()} of {len(change)}"
    medians = (np.median(x) for m in (bare, cued) for x in (m.error_percent, m.scatter_mm))
    error, scatter, cued_error, cued_scatter = (f"{m:.2f}" for m in medians)
    return f"| {name} | {error} | {apart} | {worse} | {scatter} | {cued_error} | {cued_scatter} |"


def _effects() -> Iterator[str]:
    """Fields that `SyntheticConfig.plain` sets to 0."""
    plain = SyntheticConfig().plain()
    for field in fields(SyntheticConfig):
        if getattr(plain, field.name) == 0.0 and field.name != "bank_seed":
            yield field.name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="photographs with a hand each")
    parser.add_argument("--network", default="m3dhmr", help="of the package, with a landmark cue")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each training")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="EFFECT[,EFFECT]",
        help=f"one more training with these off; known: {', '.join(_effects())}",
    )
    parser.add_argument("--crops", type=int, default=8, metavar="N", help="of each photograph")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--bank", type=int, default=5000, metavar="N", help="poses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    unknown = {n for names in args.without for n in names.split(",")} - {*_effects()}
    if unknown:
        parser.error(f"--without {', '.join(sorted(unknown))}: expected of {', '.join(_effects())}")
    for name in ("steps", "crops", "batch_size", "bank"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected 1 or more")
    return args


if __name__ == "__main__":
    main()
