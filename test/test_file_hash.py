"""Packaged weights are the ones that were shipped, or are refused."""

import re
import shutil
import subprocess

import pytest

from hand_mesh_ros import file_hash
from hand_mesh_ros.file_hash import LIST, PACKAGED, FileHashError, check_packaged, sha256_of
from hand_mesh_ros.networks.checkpoint_file import WEIGHTS, CheckpointError, read_checkpoint_file


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A copy of the smallest packaged weights, taken for the package's own."""
    shutil.copy(PACKAGED / "vq_mano.safetensors", tmp_path)
    monkeypatch.setattr(file_hash, "PACKAGED", tmp_path)
    file_hash.list_packaged()
    return tmp_path / "vq_mano.safetensors"


def test_the_list_is_that_of_the_packaged_weights():
    assert PACKAGED == WEIGHTS
    lines = (PACKAGED / LIST).read_text().splitlines()
    listed = dict(reversed(re.fullmatch(r"([0-9a-f]{64})  (\S+)", line).groups()) for line in lines)
    files = {file.name: sha256_of(file) for file in PACKAGED.glob("*.safetensors")}
    assert listed == files, "list them anew: python -m hand_mesh_ros.file_hash"


def test_the_list_is_one_for_coreutils(weights):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    command = ["sha256sum", "--check", "--strict", "--quiet", LIST]
    assert subprocess.run(command, cwd=weights.parent, check=False).returncode == 0


def test_what_was_shipped_is_read(weights):
    assert read_checkpoint_file(weights).network


def test_one_changed_bit_is_refused(weights):
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="not the one that was shipped; install the package"):
        read_checkpoint_file(weights)


def test_weights_that_nobody_listed_are_refused(weights):
    other = weights.with_name("other.safetensors")
    shutil.copy(weights, other)
    with pytest.raises(CheckpointError, match=r"not in SHA256SUMS; .* hand_mesh_ros.file_hash"):
        read_checkpoint_file(other)


def test_a_users_own_file_needs_no_list(tmp_path):
    own = tmp_path / "mine.safetensors"
    shutil.copy(PACKAGED / "vq_mano.safetensors", own)
    check_packaged(own)
    assert read_checkpoint_file(own).network


def test_a_missing_list_is_an_error(weights):
    (weights.parent / LIST).unlink()
    with pytest.raises((FileHashError, OSError)):
        check_packaged(weights)
    with pytest.raises(CheckpointError):
        read_checkpoint_file(weights)
