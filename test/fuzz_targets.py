"""Every decoder that meets the outside, by name."""

from __future__ import annotations

import re

import fuzz_files
import fuzz_messages
import fuzz_node
import fuzz_settings

TARGETS = [
    *fuzz_messages.TARGETS,
    *fuzz_node.TARGETS,
    *fuzz_settings.TARGETS,
    *fuzz_files.TARGETS,
]


def folder_name(target):
    """Where the corpus of a target is."""
    return re.sub(r"\W+", "_", target.name).strip("_").lower()
