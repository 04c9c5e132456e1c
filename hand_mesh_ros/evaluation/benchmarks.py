"""Which published figures and which server a data set's spec stands for."""

from __future__ import annotations

from hand_mesh_ros.evaluation.submissions import FREIHAND, HO3D_V2, HO3D_V3, SubmissionFormat
from hand_mesh_ros.training.datasets import HandDataset, Ho3d

_HINT_PARTS = {
    "newdays_img": "hint_newdays",
    "epick_img": "hint_visor",
    "ego4d_img": "hint_ego4d",
    "ego4d_seq": "hint_ego4d",
}
_SERVERS = {"freihand": FREIHAND, "ho3d_v2": HO3D_V2, "ho3d_v3": HO3D_V3}


def benchmark_of(spec: str, dataset: HandDataset) -> str | None:
    """Name of the published table that figures on this data set belong to.

    None for sets that papers do not report on, and for training and validation splits.
    """
    name, _, rest = spec.partition(":")
    options = dict(part.split("=", 1) for part in rest.partition("?")[2].split("&") if part)
    split = options.get("split")
    if name == "freihand" and split == "evaluation":
        return "freihand"
    if isinstance(dataset, Ho3d) and split == "evaluation":
        return f"ho3d_{dataset.version}"
    if name == "dexycb" and split == "test" and options.get("setup", "s0") == "s0":
        return "dexycb"
    if name == "hint" and split in (None, "test"):
        return _HINT_PARTS[options.get("subset", "newdays_img")]
    return None


def server_of(benchmark: str | None) -> SubmissionFormat | None:
    """The format that the benchmark's server wants; None where it has none that we write."""
    return None if benchmark is None else _SERVERS.get(benchmark)
