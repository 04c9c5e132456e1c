import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.evaluation.submissions import (
    FREIHAND,
    HO3D_V2,
    HO3D_V3,
    read_submission,
    write_submission,
)

RNG = np.random.default_rng(0)
KEYPOINTS = RNG.uniform(0.1, 0.2, (3, 21, 3))
VERTICES = RNG.uniform(0.1, 0.2, (3, 778, 3))


def small(layout):
    """The format with three images instead of thousands."""
    return replace(layout, num_samples=3)


def content(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"]
        return json.loads(archive.read("pred.json"))


def test_sizes_are_those_of_the_evaluation_sets():
    assert (FREIHAND.num_samples, HO3D_V2.num_samples, HO3D_V3.num_samples) == (3960, 11524, 20137)


def test_freihand_is_written_as_it_is(tmp_path):
    path = tmp_path / "freihand.zip"
    write_submission(path, small(FREIHAND), keypoints_m=KEYPOINTS, vertices_m=VERTICES)
    joints, vertices = content(path)
    assert np.array(joints) == pytest.approx(KEYPOINTS, abs=1e-6)
    assert np.array(vertices) == pytest.approx(VERTICES, abs=1e-6)


def test_ho3d_has_its_own_order_and_axes(tmp_path):
    path = tmp_path / "ho3d.zip"
    keypoints = KEYPOINTS.copy()
    # The index finger is bent: x of its tip and joints tells where it went.
    keypoints[:, 5:9, 0] = [5.0, 6.0, 7.0, 8.0]
    write_submission(path, small(HO3D_V3), keypoints_m=keypoints, vertices_m=VERTICES)
    joints, vertices = content(path)
    joints, vertices = np.array(joints), np.array(vertices)
    assert joints[0, 1:4, 0].tolist() == [5.0, 6.0, 7.0]
    assert joints[0, 17, 0] == 8.0  # tips follow, the thumb's first
    flip = np.array([1.0, -1.0, -1.0])
    assert joints[:, 16] == pytest.approx(keypoints[:, 4] * flip, abs=1e-6)
    assert joints[:, 7] == pytest.approx(keypoints[:, 17] * flip, abs=1e-6)  # little before ring
    assert vertices == pytest.approx(VERTICES * flip, abs=1e-6)
    assert (joints[..., 2] < 0.0).all()


@pytest.mark.parametrize("layout", [FREIHAND, HO3D_V2])
def test_reading_undoes_writing(tmp_path, layout):
    path = tmp_path / "pred.zip"
    write_submission(path, small(layout), keypoints_m=KEYPOINTS, vertices_m=VERTICES)
    keypoints, vertices = read_submission(path, small(layout))
    assert keypoints == pytest.approx(KEYPOINTS, abs=1e-6)
    assert vertices == pytest.approx(VERTICES, abs=1e-6)


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        (FREIHAND, {}, r"keypoints_m has shape \(3, 21, 3\); FreiHAND expects \(3960, 21, 3\)"),
        (small(FREIHAND), {"vertices_m": VERTICES[:, :700]}, r"\(3, 700, 3\).*\(3, 778, 3\)"),
        (small(FREIHAND), {"keypoints_m": KEYPOINTS * np.nan}, "image 0 is not finite"),
        (small(HO3D_V2), {"keypoints_m": KEYPOINTS * [1, -1, -1]}, "image 0 lie behind the camera"),
    ],
)
def test_what_the_server_would_refuse_is_not_written(tmp_path, layout, changes, message):
    path = tmp_path / "pred.zip"
    with pytest.raises(ValueError, match=message):
        write_submission(
            path, layout, **{"keypoints_m": KEYPOINTS, "vertices_m": VERTICES} | changes
        )
    assert not path.exists()


def zip_of(path, name: str, text: str):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results/pred.json", "[[], []]", "expected pred.json at its top"),
        ("pred.json", "[[]]", "not a list of two lists"),
        ("pred.json", "[[1, ", "not a zip with a JSON file"),
        ("pred.json", "[[[[1, 2, 3]], [[1, 2]]], []]", "joints do not all have the same size"),
        ("pred.json", "[[], []]", r"joints have shape \(0,\); expected \(3, 21, 3\)"),
    ],
)
def test_reading_says_what_is_wrong(tmp_path, name, text, message):
    path = zip_of(tmp_path / "pred.zip", name, text)
    with pytest.raises(ValueError, match=message):
        read_submission(path, small(FREIHAND))


def test_a_file_that_is_no_zip_is_named(tmp_path):
    path = tmp_path / "pred.zip"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"pred\.zip is not a zip"):
        read_submission(path, small(FREIHAND))
