"""A log for what may happen in every frame: each reason is said once in a while."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

PERIOD_S = 5.0


class ThrottledLog:
    """Says each line once per period; lines that differ only in their numbers count as one."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def warning(self, text: str) -> None:
        """Log a warning, unless it was said a moment ago."""
        self._say(logging.WARNING, text, None)

    def error(self, text: str, cause: BaseException) -> None:
        """Log an error with its traceback, unless it was said a moment ago."""
        self._say(logging.ERROR, text, cause)

    def _say(self, level: int, text: str, cause: BaseException | None) -> None:
        now_s = self._clock()
        self._said_s = {k: s for k, s in self._said_s.items() if now_s - s < PERIOD_S}
        reason = re.sub(r"\d+", "#", text)
        if reason not in self._said_s:
            self._said_s[reason] = now_s
            self._log.log(level, text, exc_info=cause)
