"""Images and label files: damage is noticed and named, numbers are read exactly, nothing is run."""

import json
import pickle
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mano_like import Ch, python2_pickle
from tiny_datasets import write_image

from hand_mesh_ros.hand_models.safe_pickle import (
    PickleReadError,
    UnsafePickleError,
    load_plain_data,
)
from hand_mesh_ros.training.datasets import DatasetError, ImageError, label_files
from hand_mesh_ros.training.datasets.image_file import ImageFile, read_image
from hand_mesh_ros.training.datasets.label_files import read_number_rows


def test_datasets_start_without_torch():
    program = (
        "import sys, hand_mesh_ros.training.datasets;"
        "sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Images


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_off_image_is_an_error_not_a_grey_picture(tmp_path, name, keep):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ImageError, match=name):
        read_image(path)


def test_missing_image_and_other_size_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg: cannot read this image \(No such file"):
        ImageFile(tmp_path / "none.jpg", 4, 4)()
    write_image(tmp_path / "a.png", 0, 8, 6)
    assert ImageFile(tmp_path / "a.png", 8, 6)().shape == (6, 8, 3)
    with pytest.raises(ImageError, match=r"a\.png: 8 x 6 px, its labels are for 6 x 8"):
        ImageFile(tmp_path / "a.png", 6, 8)()


def test_labels_refer_to_pixels_as_stored_whatever_exif_says(tmp_path):
    write_image(tmp_path / "a.jpg", 0, 8, 6)
    data = (tmp_path / "a.jpg").read_bytes()
    # One entry: tag 0x0112 (orientation), type 3 (short), count 1, value 6 (turned by 90 degrees).
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    )
    assert read_image(tmp_path / "a.jpg").shape == (6, 8, 3)
    assert read_image(tmp_path / "a.jpg", upright=True).shape == (8, 6, 3)


# Numbers


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 24])
@pytest.mark.parametrize("separator", [",", ", ", " ,\n"])
def test_number_rows_are_what_json_reads(tmp_path, monkeypatch, block, separator):
    monkeypatch.setattr(label_files, "_BLOCK_BYTES", block)
    values = np.random.default_rng(1).normal(0.0, 1.0, (3, 4, 2)) * [1e-7, 1e7]
    text = json.dumps(values.tolist(), separators=(separator, ":"))
    (tmp_path / "a.json").write_text(text)
    got = read_number_rows(tmp_path / "a.json", (4, 2), "rows")
    np.testing.assert_array_equal(got, values)


def test_number_rows_may_be_nested_deeper_or_none(tmp_path):
    (tmp_path / "a.json").write_text("[[[1, 2]], [[3, -4e-1]]]")
    got = read_number_rows(tmp_path / "a.json", (2,), "pairs")
    np.testing.assert_array_equal(got, [[1, 2], [3, -0.4]])
    (tmp_path / "a.json").write_text("[]")
    assert read_number_rows(tmp_path / "a.json", (2,), "pairs").shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[1, 2], [3, null]]", "where numbers belong"),
        ("<html>", "where numbers belong"),
        ("[[1, 2], [3]]", "3 numbers are no whole rows of 2"),
        ("[[1, 2], [3,, 4]]", "damaged numbers"),
        ("[1 2, 3]", "damaged numbers"),
        ("[1-2, 3]", "damaged numbers"),
    ],
)
def test_damaged_number_rows_name_the_file(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"a\.json: .*{says}.*expected pairs"):
        read_number_rows(tmp_path / "a.json", (2,), "pairs")


# Pickles


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_nested_plain_data_comes_out_whole(tmp_path, protocol):
    content = {
        7: {"K": np.eye(3, dtype=np.float32), "name": "banana", "none": None, "flag": True},
        "list": [1, 2.5, ("a", None)],
        "scalar": np.float32(0.5),
        "mask": np.array([True, False]),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    got = load_plain_data(path)
    assert list(got) == list(content)
    np.testing.assert_array_equal(got[7].pop("K"), content[7].pop("K"))
    np.testing.assert_array_equal(got.pop("mask"), content.pop("mask"))
    assert got == content


def test_names_and_sets_come_out_as_none(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(python2_pickle({"ch": Ch(x=np.arange(2.0)), "set": {1}}))
    got = load_plain_data(path)
    np.testing.assert_array_equal(got["ch"], [0.0, 1.0])
    assert got["set"] is None


def test_data_that_grows_by_sharing_or_depth_is_harmless(tmp_path):
    path, shared = tmp_path / "a.pkl", [1]
    for _ in range(60):
        shared = [shared, shared]  # 2^60 entries if it were copied
    path.write_bytes(pickle.dumps({"a": shared}, 4))
    got = load_plain_data(path)["a"]
    assert got[0] is got[1]
    path.write_bytes(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    with pytest.raises(UnsafePickleError, match=r"a\.pkl: nested too deeply"):
        load_plain_data(path)


def test_plain_data_may_be_limited_in_size_and_is_checked(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": b"x" * 3_000_000}, 4))
    assert len(load_plain_data(path)["a"]) == 3_000_000
    with pytest.raises(UnsafePickleError, match="larger than 1 MB"):
        load_plain_data(path, max_file_bytes=1 << 20)
    path.write_bytes(pickle.dumps({"a": object()}, 4))
    with pytest.raises(UnsafePickleError, match="object"):
        load_plain_data(path)
    path.write_bytes(b"")
    with pytest.raises(PickleReadError, match="empty"):
        load_plain_data(path)
