"""A logger that speaks as ROS nodes do: `[INFO] [1690000000.123456789] [hand_mesh]: text`."""

from __future__ import annotations

import logging

_LEVEL_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}


class _RosFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)  # the message, and the traceback if there is one
        level = _LEVEL_NAMES.get(record.levelno, record.levelname)
        return f"[{level}] [{record.created:.9f}] [{record.name}]: {text}"


def node_logger(full_name: str, level: int) -> logging.Logger:
    """Logger of a node ("/robot/hand_mesh" speaks as robot.hand_mesh), on stderr."""
    logger = logging.getLogger(full_name.strip("/").replace("/", "."))
    handler = logging.StreamHandler()
    handler.setFormatter(_RosFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return logger
