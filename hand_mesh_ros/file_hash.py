"""SHA-256 of files: whether what is read is what was written or shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGED = Path(__file__).parent / "weights"
LIST = "SHA256SUMS"
"""File among them, as the `sha256sum` of coreutils writes and checks it."""
_BLOCK_BYTES = 1 << 20


class FileHashError(ValueError):
    """A packaged file is not the one that was shipped: one clear line."""


def sha256_of(path: Path) -> str:
    """Hexadecimal digest; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_packaged(path: Path) -> None:
    """Compare one of the package's weights with their list; other files are whoever's they are.

    Raises:
        FileHashError: another content, or not on the list; says what to do.
        OSError: the file or the list cannot be read.
    """
    if path.parent != PACKAGED:
        return
    listed = _listed(PACKAGED / LIST)
    if path.name not in listed:
        raise FileHashError(
            f"{path}: not in {LIST}; whoever adds weights to the package lists them: "
            "python -m hand_mesh_ros.file_hash"
        )
    found = sha256_of(path)
    if found != listed[path.name]:
        raise FileHashError(
            f"{path}: its SHA-256 is {found[:16]}..., listed is {listed[path.name][:16]}...: it is "
            "damaged, or not the one that was shipped; install the package again"
        )


def list_packaged() -> None:
    """Write the list anew, of what is there; for whoever adds weights. Raises OSError."""
    files = sorted(PACKAGED.glob("*.safetensors"))
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (PACKAGED / LIST).write_text("".join(lines), "ascii")


def _listed(path: Path) -> dict[str, str]:
    """Digest by file name."""
    lines = (line.split() for line in path.read_text("ascii").splitlines())
    return {words[1].lstrip("*"): words[0] for words in lines if len(words) == 2}


if __name__ == "__main__":
    list_packaged()
