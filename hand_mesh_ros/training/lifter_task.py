"""Trains the lifter: hands of the pose prior in, their landmarks with measured noise, no image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hand_mesh_ros.evaluation.calibration import rank_correlation
from hand_mesh_ros.evaluation.metrics import distances_m, procrustes
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.hand_models.torch_hand import rotations_from_6d
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.hand_models.torch_skeleton import TorchSkeleton
from hand_mesh_ros.networks.lifter import LifterConfig
from hand_mesh_ros.networks.procrustes_distance import procrustes_distances
from hand_mesh_ros.reconstruction.lifter import (
    DETECTOR_CONFIDENCE,
    FEATURES,
    HAS_PREVIOUS,
    LOG_STDDEV_RANGE,
    NETWORK,
    PREVIOUS,
    PREVIOUS_UNIT,
    USUAL_LOG_STDDEV,
)
from hand_mesh_ros.training.ahead import made_ahead
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.config import TrainerConfig
from hand_mesh_ros.training.landmark_noise import LandmarkNoise
from hand_mesh_ros.training.landmark_pictures import draw_skeletons
from hand_mesh_ros.training.lifter_data import LifterData, LifterDataOptions
from hand_mesh_ros.training.seeds import VALIDATION_SEED, Split, numpy_stream
from hand_mesh_ros.training.task import Batch, TrainingTask, register_task

_VALIDATION_HANDS, _VALIDATION_BATCH = 4096, 1024
_POSE_SEED = 1
_PICTURED = 8
# Weights that bring the terms to the same size in the middle of training.
_KEYPOINTS, _POSED, _LIKELIHOOD, _ROOT = 10.0, 10.0, 0.05, 1.0
_ANGLES, _ROTATION, _SHAPE = 0.2, 0.1, 0.02


@register_task(
    "lifter",
    network=NETWORK,
    network_config=LifterConfig(),
    options=LifterDataOptions(),
    trainer=TrainerConfig(
        steps=16_000,
        batch_size=512,
        learning_rate=1.5e-3,
        precision="bf16-mixed",
        weight_decay=1e-4,
        warmup_steps=200,
        ema_decay=0.998,
        val_every_steps=1000,
        checkpoint_every_steps=1000,
        threads=1,
        accelerator="cpu",
    ),
)
class LifterTask(TrainingTask):
    """Depth and pose from 2D landmarks: minutes on a CPU, no image, no licence."""

    def __init__(
        self, network: nn.Module, options: LifterDataOptions, *, model: HandModel, batch_size: int
    ) -> None:
        """Data is drawn at the first batch."""
        super().__init__(network, options, model=model, batch_size=batch_size)
        self._decoder = _Decoder(model)
        self._data: dict[str, LifterData] = {}

    def extra_modules(self) -> dict[str, nn.Module]:
        """The hand model's constants, which move to the device."""
        return {"decoder": self._decoder}

    def preprocessing(self) -> dict[str, Any]:
        """What confidence the weights know the detector by."""
        return {"detector_confidence": DETECTOR_CONFIDENCE}

    def batches(self, stream: BatchStream) -> Iterator[Batch]:
        """Hands in new views each time, made in another thread."""
        device, data = stream.device, self._data_of(stream.split)

        def on_device(arrays: dict[str, np.ndarray]) -> Batch:
            return {name: torch.from_numpy(values).to(device) for name, values in arrays.items()}

        if stream.split == "val":
            for step in range(_VALIDATION_HANDS // _VALIDATION_BATCH):
                rng = numpy_stream("val", seed=VALIDATION_SEED, step=step)
                yield on_device(data.batch(_VALIDATION_BATCH, rng).arrays())
            return

        endless = (
            data.batch(self.batch_size, stream.rng(step)).arrays()
            for step in itertools.count(stream.start_step)
        )
        for arrays in made_ahead(endless, 4):
            yield on_device(arrays)

    def _data_of(self, split: Split) -> LifterData:
        """Validation hands are measured ones that training doesn't see."""
        if split not in self._data:
            options, held_out = self.options, split == "val"
            if held_out:
                options = LifterDataOptions(
                    poses=1,
                    measured_share=1.0,
                    exact_share=0.0,
                    scaled_share=0.0,
                    mixed_share=0.0,
                    dropout_share=0.0,
                    previous_share=0.0,
                )
            noise = LandmarkNoise.load(held_out=held_out)
            self._data[split] = LifterData(self.model, options, noise, seed=_POSE_SEED)
        return self._data[split]

    def losses(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Distances in units of the hand's length, and the likelihood of their deviations."""
        out = self._answer(self.network, batch)
        hand = self._decoder(out)
        error = hand["keypoints"] - batch["keypoints"]  # (B, 21, 3)
        stddev = hand["log_stddev"]  # (B, 21, 3)
        # The likelihood teaches the deviations alone: where it may also move the keypoints, it
        # gives up on hands that it finds difficult.
        likelihood = 0.5 * (error.detach() * torch.exp(-stddev)) ** 2 + stddev
        return {
            "keypoints": _KEYPOINTS * torch.sqrt((error**2).sum(2) + 1e-6).mean(),
            "posed": _POSED * procrustes_distances(hand["keypoints"], batch["keypoints"]).mean(),
            "likelihood": _LIKELIHOOD * likelihood.mean(),
            "root": _ROOT * (out["root"] - batch["root"]).abs().mean(),
            "angles": _ANGLES * (hand["angles_rad"] - batch["angles_rad"]).abs().mean(),
            "rotation": _ROTATION * (hand["R"] - batch["R_view_hand"]).abs().mean(),
            "shape": _SHAPE * ((out["shape"] - batch["shape"]) ** 2).mean(),
        }

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Errors of hands as long as the template, and how far deviations are from honest."""
        pa, within, stddevs, errors, depth = [], [], [], [], []
        for batch in batches:
            out = self._answer(network, batch)
            hand = self._decoder(out)
            found, true = (x["keypoints"].cpu().numpy().astype(np.float64) for x in (hand, batch))
            stddev = torch.exp(hand["log_stddev"]).cpu().numpy()
            pa.append(distances_m(procrustes(found, true).apply(found), true).mean(1))
            within.append((np.abs(found - true) < stddev).mean())
            stddevs.append(np.sqrt((stddev**2).mean(2)).ravel())
            errors.append(np.linalg.norm(found - true, axis=2).ravel())
            depth.append((out["root"] - batch["root"])[:, 2].abs().cpu().numpy())
        length_mm = 1e3 * self.model.hand_length_m(np.zeros(self.model.shape_dirs_m.shape[2]))
        ranks = rank_correlation(np.concatenate(stddevs), np.concatenate(errors))
        return {
            "pa_mpjpe_mm": length_mm * float(np.concatenate(pa).mean()),
            "keypoint_error_mm": length_mm * float(np.concatenate(errors).mean()),
            "depth_error_share": float(np.median(np.concatenate(depth))),
            "rank_error": 1.0 - (ranks or 0.0),
            "calibration_error": abs(float(np.mean(within)) - 0.6827),
        }

    def pictures(self, network: nn.Module, batch: Batch) -> dict[str, np.ndarray]:
        """The first hands: landmarks, truth and what was made of them."""
        first = {name: values[:_PICTURED] for name, values in batch.items()}
        found = self._decoder(self._answer(network, first))["keypoints"].cpu().numpy()
        return {"hands": draw_skeletons(*_shown(first), found)}

    def preview(self, n: int) -> np.ndarray:
        """Training hands, with the errors of their landmarks, in rows."""
        columns = max(1, min(n, _PICTURED))
        rng = numpy_stream("train", seed=0, rank=0, step=0)
        arrays = self._data_of("train").batch(columns * max(1, n // columns), rng).arrays()
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        seen_xy, true = _shown(batch)
        rows = range(0, len(true), columns)
        return np.concatenate(
            [draw_skeletons(seen_xy[i : i + columns], true[i : i + columns]) for i in rows]
        )

    def _answer(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The network's outputs in single precision, whatever it computes in."""
        return _single(network(self._features(network, batch)))

    def _features(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, F) with the network's own answer to the frame before, where there was one."""
        turn = batch["R_view_previous"]
        had = turn.abs().sum((1, 2)) > 0.0
        if not had.any():
            return batch["features"]
        with torch.no_grad():
            out = _single(network(batch["previous_features"][had]))
            answer = _turned(self._decoder(out)["keypoints"], turn[had])  # (had, 21, 3)
        features = batch["features"].clone()
        features[had, PREVIOUS] = answer.flatten(1) / PREVIOUS_UNIT
        features[had, HAS_PREVIOUS] = 1.0
        return features


def _single(out: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.float() for name, values in out.items()}


@in_single_precision
def _turned(points: Tensor, R: Tensor) -> Tensor:
    """(B, N, 3) points turned by (B, 3, 3)."""
    return points @ R.transpose(1, 2)


def _shown(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(B, 21, 2) landmarks and (B, 21, 3) keypoints, for pictures."""
    xy = batch["features"][:, : FEATURES["xy"]].unflatten(1, (21, 2))
    return xy.cpu().numpy(), batch["keypoints"].cpu().numpy()


class _Decoder(nn.Module):
    """The network's numbers as a hand, in torch: keypoints in units of the hand's length."""

    mean_rad: Tensor
    std_rad: Tensor
    chain_m: Tensor
    chain_dirs_m: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        anatomy = Anatomy.of(model)
        self.skeleton = TorchSkeleton(model, "detector")
        chain = model.middle_chain(np.zeros(model.shape_dirs_m.shape[2]))
        dirs = [model.middle_chain(e) - chain for e in np.eye(model.shape_dirs_m.shape[2])]
        for name, values in {
            "mean_rad": anatomy.mean_rad,
            "std_rad": anatomy.std_rad,
            "chain_m": chain,
            "chain_dirs_m": np.stack(dirs),
        }.items():
            tensor = torch.as_tensor(values, dtype=torch.float32)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, out: dict[str, Tensor]) -> dict[str, Tensor]:
        angles = self.mean_rad + self.std_rad * out["angles"]  # (B, D)
        R, keypoints = self._posed(angles, out["rotation_6d"], out["shape"])
        across, along = out["log_stddev"].unflatten(1, (21, 2)).unbind(2)
        log_stddev = torch.stack([across, across, along], dim=2) + USUAL_LOG_STDDEV
        return {
            "angles_rad": angles,
            "R": R,
            "keypoints": keypoints,
            "log_stddev": log_stddev.clamp(*LOG_STDDEV_RANGE),
        }

    @in_single_precision
    def _posed(self, angles: Tensor, six: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 3) and (B, 21, 3) about their mean, in units of the hand's length."""
        R = rotations_from_6d(six)
        points = self.skeleton(angles, R, shape)
        bones = self.chain_m + torch.tensordot(shape, self.chain_dirs_m, 1)  # (B, 4, 3)
        length = bones.norm(dim=2).sum(1)[:, None, None]
        return R, (points - points.mean(1, keepdim=True)) / length
