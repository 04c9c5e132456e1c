"""Speeds that papers and their authors give, to stand beside ours."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class PublishedSpeed(NamedTuple):
    """One figure, with what it counts."""

    system: str
    network: str | None
    """Ours of the same kind, in the registry of networks."""
    fps: float
    where: str
    counts: str
    source: str


_NET = "network alone"
_M3DHMR = "M3DHMR (arXiv 2505.20058), table 4"
_HANDMIM = "HandMIM (arXiv 2307.16061), table 1"
SPEEDS = (
    PublishedSpeed("M3DHMR, ResNet-18", "m3dhmr", 42.0, "not said", _NET, _M3DHMR),
    PublishedSpeed("M3DHMR, ResNet-34", "m3dhmr", 28.0, "not said", _NET, _M3DHMR),
    PublishedSpeed("MobRecon, ResNet-18", "m3dhmr", 69.0, "not said", _NET, _M3DHMR),
    PublishedSpeed("MobRecon, ResNet-34", "m3dhmr", 43.0, "not said", _NET, _M3DHMR),
    PublishedSpeed("MobRecon", "m3dhmr", 83.0, "Apple A14", _NET, "MobRecon (arXiv 2112.02753)"),
    PublishedSpeed("HandMIM, ViT-S", "handmim", 40.0, "V100", _NET, _HANDMIM),
    PublishedSpeed("HandMIM, ViT-B", "handmim", 15.0, "V100", _NET, _HANDMIM),
    PublishedSpeed("HandMIM, ViT-L", "handmim", 4.0, "V100", _NET, _HANDMIM),
    PublishedSpeed(
        "HaMeR", None, 31.0, "RTX 3090", _NET, "github.com/geopavlakos/hamer/issues/1 (32 ms)"
    ),
    PublishedSpeed(
        "WiLoR",
        None,
        18.0,
        "RTX 5000",
        "detector and network",
        "github.com/rolpotamias/WiLoR/issues/31",
    ),
)


def published_text(networks: Collection[str]) -> str:
    """Markdown: figures of the systems that these networks are like, and of those at large."""
    lines = [
        "Published (hands/s):",
        "",
        "| System | hands/s | on | counts | source |",
        "|" + "---|" * 5,
    ]
    lines += [
        f"| {s.system} | {s.fps:g} | {s.where} | {s.counts} | {s.source} |"
        for s in SPEEDS
        if s.network is None or s.network in networks
    ]
    return "\n".join(lines) + "\n"
