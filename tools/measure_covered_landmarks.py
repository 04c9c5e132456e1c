"""How much worse the landmark detector is where something covers a keypoint.

The same rendered hands are shown to it twice: free, and behind objects and other hands. Of those
keypoints that only the first picture shows, the errors in both are compared:
`COVERED_NOISE_SCALE` of `training/landmark_noise.py`.

    python tools/measure_covered_landmarks.py --hands 320
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.training.synthetic import SyntheticImages
from hand_mesh_ros.training.synthetic_config import SyntheticConfig

SIZE_PX, BATCH = 256, 16
FREE = SyntheticConfig(
    size_px=SIZE_PX,
    bank_size=2000,
    bank_seed=0xABC,
    chunk=BATCH,
    truncation=0.0,
    motion_blur=0.0,
    held_object=0.0,
    pinched_object=0.0,
    passing_object=0.0,
    second_hand=0.0,
)
COVERED = replace(FREE, held_object=0.8, passing_object=1.0, second_hand=0.4)
BORDER_PX = 64
"""Of grey around a crop: the detector wants hands smaller than its image."""
LOST = 0.5
"""A hand whose median error without cover is above this, of its size, was not found but guessed."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=320, metavar="N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_open_hand()
    engines = SyntheticImages(model, FREE), SyntheticImages(model, COVERED)
    detector = MediaPipeHands(max_hands=1)
    errors: list[list[np.ndarray]] = []
    masks: list[np.ndarray] = []
    for seed in tqdm(range(args.hands // BATCH)):
        free, covered = (engine.batch(BATCH, seed) for engine in engines)
        for i in range(BATCH):
            true_px = free.keypoints_px["detector"][i].numpy()
            found = [landmarks_px(detector, batch.image[i]) for batch in (free, covered)]
            if any(px is None for px in found):
                continue
            size_px = np.sqrt(((true_px - true_px.mean(0)) ** 2).sum(1).mean())
            error = [np.linalg.norm(px - true_px, axis=1) / size_px for px in found]
            if np.median(error[0]) < LOST:
                errors.append(error)
                masks.append((free.keypoint_visible & covered.keypoint_covered)[i].numpy())
    detector.close()
    free_error, covered_error = np.array(errors).swapaxes(0, 1)
    print(f"{len(errors)} of {args.hands} hands found in both pictures; errors of their size")
    for name, mask in (("covered", np.array(masks)), ("others", ~np.array(masks))):
        before, after = (
            np.quantile(free_error[mask], QUANTILES),
            np.quantile(covered_error[mask], QUANTILES),
        )
        print(f"{name}, {mask.sum()} keypoints, quantiles {QUANTILES}:")
        print(f"  free {before.round(3)}, behind things {after.round(3)}")
        print(f"  {(after / before).round(2)} times as far off")


def landmarks_px(detector: MediaPipeHands, image: Tensor) -> np.ndarray | None:
    """(21, 2) px of a (3, S, S) crop as a followed hand; None where no hand is found."""
    height, width = SIZE_PX + 2 * BORDER_PX, 2 * SIZE_PX
    left = (width - SIZE_PX) // 2
    picture = np.full((height, width, 3), 128, np.uint8)
    crop = (255.0 * image.permute(1, 2, 0).numpy()).round().astype(np.uint8)
    picture[BORDER_PX : BORDER_PX + SIZE_PX, left : left + SIZE_PX] = crop
    detector.reset()
    found = detector.detect(picture, 0)
    found = detector.detect(picture, 33_000_000) or found if found else []
    return found[0].keypoints_px - np.array([left, BORDER_PX]) if found else None


if __name__ == "__main__":
    main()
