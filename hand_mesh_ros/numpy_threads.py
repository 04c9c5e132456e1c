"""How many threads NumPy's linear algebra may use; to be called before NumPy is imported."""

from __future__ import annotations

import os


def use_one_numpy_thread() -> None:
    """One, unless the user said otherwise: more would only take turns with the detector's."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
