"""Small disks and two hosts with a cable between them, made by the kernel; both need root."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager

import pytest

_PREFIX = "hand_mesh"


def _run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def _needed(*command):
    """Run a command; skip where this user or this kernel may not."""
    done = _run(*command)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()
        pytest.skip(f"needs root and {command[0]}: {' '.join(command)}: {' '.join(reason)}")


@contextmanager
def small_disk(folder, *, kib):
    """A file system of that size in a folder."""
    folder.mkdir(exist_ok=True)
    _needed("mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


@contextmanager
def two_hosts():
    """Two network namespaces: what to put before a command in each, and what moves the cable."""
    names, ends = (f"{_PREFIX}_a", f"{_PREFIX}_b"), ("hmr_veth_a", "hmr_veth_b")
    try:
        for name in names:
            _needed("ip", "netns", "add", name)
        _needed("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for i, (name, end) in enumerate(zip(names, ends, strict=True)):
            inside = ("ip", "-n", name)
            _needed("ip", "link", "set", end, "netns", name)
            _needed(*inside, "address", "add", f"10.231.7.{i + 1}/24", "dev", end)
            _needed(*inside, "link", "set", "lo", "up")
            _needed(*inside, "link", "set", end, "up")
        here, there = (("ip", "netns", "exec", name) for name in names)

        def cable(state):
            _needed("ip", "-n", names[1], "link", "set", ends[1], state)

        yield here, there, cable
    finally:
        for name in names:
            _run("ip", "netns", "del", name)
