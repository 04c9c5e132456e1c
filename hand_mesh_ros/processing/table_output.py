"""Hands as a table: `.npz` for NumPy, Parquet for everything that reads tables."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from hand_mesh_ros.conventions import JOINT_NAMES, KEYPOINT_NAMES
from hand_mesh_ros.processing.hand_rows import FRAME_ROW, HAND_ROW, HandRows, Spool
from hand_mesh_ros.processing.outputs import Answer, RecordingInfo

_XYZ, _UV = ("x", "y", "z"), ("u", "v")


class NpzOutput:
    """`hands.npz`: an array for each column of `HAND_ROW`, `frame_*` of `FRAME_ROW`, and names."""

    def __init__(self, path: Path, info: RecordingInfo) -> None:
        self._path = path
        self._rows = HandRows(info.hand_model, path.parent)

    def add(self, answer: Answer) -> None:
        """Keep the hands of one frame."""
        self._rows.add(answer)

    def finish(self) -> None:
        """Write the file, column after column, without ever holding a whole one."""
        names = {
            "keypoint_names": np.array(KEYPOINT_NAMES),
            "joint_names": np.array(JOINT_NAMES),
            "joint_angle_names": np.array(self._rows.angle_names),
        }
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED) as archive:
            for prefix, spool, dtype in (
                ("", self._rows.hands, HAND_ROW),
                ("frame_", self._rows.frames, FRAME_ROW),
            ):
                for column in dtype.names or ():
                    with _entry(archive, prefix + column) as file:
                        _write_column(file, spool, dtype, column)
            for name, array in names.items():
                with _entry(archive, name) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        self.close()

    def close(self) -> None:
        """Let go of what was kept."""
        self._rows.close()


class ParquetOutput:
    """`hands.parquet`: a row for each hand and frame, a column for each number, units in names."""

    def __init__(self, path: Path, info: RecordingInfo) -> None:
        """Raise ImportError where pyarrow is missing, before any work is done."""
        import_pyarrow()
        self._path = path
        self._rows = HandRows(info.hand_model, path.parent)

    def add(self, answer: Answer) -> None:
        """Keep the hands of one frame."""
        self._rows.add(answer)

    def finish(self) -> None:
        """Write the file, some thousand rows at once."""
        pyarrow, parquet = import_pyarrow()
        names = column_names(self._rows.angle_names)
        writer = None
        try:
            for block in (*self._rows.hands.blocks(), np.zeros(0, HAND_ROW)):
                columns = {
                    flat: np.ascontiguousarray(values)
                    for column, flats in names.items()
                    for flat, values in zip(
                        flats, block[column].reshape(len(block), len(flats)).T, strict=True
                    )
                }
                table = pyarrow.table(columns)
                if writer is None:
                    writer = parquet.ParquetWriter(self._path, table.schema)
                if len(block):
                    writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        self.close()

    def close(self) -> None:
        """Let go of what was kept."""
        self._rows.close()


def column_names(angle_names: tuple[str, ...] | list[str]) -> dict[str, list[str]]:
    """Names of the flat columns that each column of `HAND_ROW` becomes, in the order of numbers."""
    names = {column: [column] for column in HAND_ROW.names or ()}
    axes = [f"{kind}{axis}" for kind in ("", "r") for axis in _XYZ]
    names |= {
        "root_position_m": [f"root_{a}_m" for a in _XYZ],
        "root_quaternion_xyzw": [f"root_q{a}" for a in (*_XYZ, "w")],
        "root_covariance_m_rad": [f"root_covariance_{a}_{b}" for a in axes for b in axes],
        "keypoints_m": [f"{k}_{a}_m" for k in KEYPOINT_NAMES for a in _XYZ],
        "keypoint_stddev_m": [f"{k}_stddev_m" for k in KEYPOINT_NAMES],
        "keypoints_px": [f"{k}_{a}_px" for k in KEYPOINT_NAMES for a in _UV],
        "joints_m": [f"joint_{j}_{a}_m" for j in JOINT_NAMES for a in _XYZ],
        "pose_rad": [f"pose_{j}_{a}_rad" for j in JOINT_NAMES for a in _XYZ],
        "shape": [f"shape_{i}" for i in range(10)],
        "joint_angles_rad": [f"{name}_rad" for name in angle_names],
        "box_px": [f"box_{edge}_px" for edge in ("x0", "y0", "x1", "y1")],
    }
    return names


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A file in the archive; of a fixed date, so that equal numbers give equal bytes."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_column(file: IO[bytes], spool: Spool, dtype: np.dtype, column: str) -> None:
    kind, shape = dtype[column].base, dtype[column].shape
    header = {"descr": kind.str, "fortran_order": False, "shape": (spool.count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]  # a file in a zip
    for block in spool.blocks():
        file.write(np.ascontiguousarray(block[column]).tobytes())


def import_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; raises ImportError with the install line."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"--parquet needs pyarrow ({error}): pip install hand_mesh_ros[parquet]"
        ) from error
    return pyarrow, pyarrow.parquet
