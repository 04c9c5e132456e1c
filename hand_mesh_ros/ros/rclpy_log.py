"""Python's `logging` spoken through rclpy: console, log file and /rosout, at ROS's level."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class _RclpyHandler(logging.Handler):
    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text, level = self.format(record), record.levelno
        # A line of its own for each: rclpy refuses another severity from a line that it knows.
        if level >= logging.CRITICAL:
            self._logger.fatal(text)
        elif level >= logging.ERROR:
            self._logger.error(text)
        elif level >= logging.WARNING:
            self._logger.warning(text)
        elif level >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def rclpy_logger(logger: RcutilsLogger) -> logging.Logger:
    """A standard logger that hands everything to a node's logger."""
    standard = logging.getLogger(logger.name)
    standard.handlers[:] = [_RclpyHandler(logger)]
    standard.setLevel(logging.DEBUG)
    standard.propagate = False
    return standard
