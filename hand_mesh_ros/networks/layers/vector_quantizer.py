"""Vector quantisation with a codebook of moving averages (van den Oord et al. 2017, appendix A.1).

Codes that nothing chooses any more are set to vectors of the batch, as in Jukebox (Dhariwal et al.
2020) and most tokenisers since.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_UNITS = 1e-5


class VectorQuantizer(nn.Module):
    """K codes of width D; has no parameters, learns by `learn` alone."""

    codebook: Tensor
    """(K, D)"""
    counts: Tensor
    """(K,) moving average of how many vectors of a batch choose each code."""
    sums: Tensor
    """(K, D) moving average of those vectors' sums."""

    def __init__(self, codes: int, width: int, *, decay: float, dead_below: float) -> None:
        """All codes are dead at first, so that the first batch makes the codebook.

        Args:
            codes: K.
            width: D.
            decay: of the moving averages.
            dead_below: a code with a lower count is replaced.
        """
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("codebook", torch.zeros(codes, width))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))

    def nearest(self, vectors: Tensor) -> Tensor:
        """(...) int64 nearest code of each of (..., D) vectors."""
        # |v - c|^2 without |v|^2, which is the same for all codes.
        distance = (self.codebook**2).sum(1) - 2.0 * vectors @ self.codebook.T  # (..., K)
        return distance.argmin(-1)

    def codes_of(self, index: Tensor) -> Tensor:
        """(..., D) codes."""
        return nn.functional.embedding(index, self.codebook)

    @torch.no_grad()
    def learn(self, vectors: Tensor, index: Tensor) -> None:
        """Move each code to the mean of the vectors that chose it, and dead ones elsewhere.

        Args:
            vectors: (..., D) of a batch.
            index: (...) their nearest codes.
        """
        vectors, index = vectors.detach().float().flatten(0, -2), index.flatten()  # (N, D), (N,)
        count = torch.zeros_like(self.counts).index_add_(0, index, torch.ones_like(vectors[:, 0]))
        total = torch.zeros_like(self.sums).index_add_(0, index, vectors)
        self.counts.lerp_(count, 1.0 - self.decay)
        self.sums.lerp_(total, 1.0 - self.decay)
        dead = self.counts < self.dead_below  # (K,)
        if dead.any():
            pick = torch.randint(len(vectors), (len(dead),), device=vectors.device)
            # As if they were chosen often enough to be seen again next time.
            alive = max(self.dead_below, 1.0)
            self.counts[dead] = alive
            self.sums[dead] = alive * vectors[pick][dead]
        self.codebook.copy_(self.sums / self.counts.clamp_min(_UNITS)[:, None])

    @staticmethod
    def share_in_use(index: Tensor, codes: int) -> float:
        """0 to 1: codes that are chosen at least once among (...) indices."""
        return float((torch.bincount(index.flatten(), minlength=codes) > 0).float().mean())
