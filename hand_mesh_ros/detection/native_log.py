"""Keeps native libraries' start-up chatter off stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# What TensorFlow Lite and MediaPipe say at every start, on every machine. They take no log level
# from Python or the environment (GLOG_minloglevel and TF_CPP_MIN_LOG_LEVEL change nothing).
_KNOWN_NOISE = (
    b"All log messages before absl::InitializeLog() is called are written to STDERR",
    b"Created TensorFlow Lite XNNPACK delegate for CPU",
    b"Feedback manager requires a model with a single signature inference",
    b"Using NORM_RECT without IMAGE_DIMENSIONS is only supported for the square ROI",
    b"Successfully initialized EGL",
    b"GL version:",
    b"GPU suport is not available",
)


@contextmanager
def known_noise_dropped() -> Iterator[None]:
    """Hold back file descriptor 2, then pass on every line that is not known to be noise."""
    sys.stderr.flush()
    try:
        stderr_fd = os.dup(2)
    except OSError:  # no stderr at all (a daemon): nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr_fd, 2)
            os.close(stderr_fd)
            held.seek(0)
            for line in held:
                if not any(noise in line for noise in _KNOWN_NOISE):
                    os.write(2, line)
