"""Lets parts of mediapipe be imported without all of it.

Its `__init__` imports every solution it has, and with them matplotlib and sound drivers: 0.9 s and
40 MB that hand detection has no use for (and a matplotlib that does not fit numpy would stop it).
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def defer_mediapipe_init() -> None:
    """Put mediapipe's package into `sys.modules` with its `__init__` still to run.

    It runs at the first use of one of its names, so any other user finds the package whole. Does
    nothing where mediapipe is already imported or not installed.
    """
    if "mediapipe" in sys.modules:
        return
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader

    def run_init_first(name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # introspection, not use
            raise AttributeError(f"module 'mediapipe' has no attribute '{name}'")
        vars(module).pop("__getattr__", None)
        loader.exec_module(module)
        return getattr(module, name)

    vars(module)["__getattr__"] = run_init_first  # PEP 562
    sys.modules["mediapipe"] = module
