"""HO-3D: OpenGL axes, its own joint order, absolute poses, v2 and v3."""

import json
import os
import pickle

import numpy as np
import pytest
from tiny_datasets import HO3D_K, OPENGL, make_ho3d, mano_folder, write_meta

from hand_mesh_ros.conventions import KEYPOINT_NAMES
from hand_mesh_ros.training.datasets import DatasetError, Ho3d, NoHandError


@pytest.fixture(scope="module", params=["v2", "v3"])
def folder(tmp_path_factory, request):
    root = tmp_path_factory.mktemp("ho3d")
    mano_folder(root / "mano")
    return request.param, root, make_ho3d(root, version=request.param)


def test_joints_come_out_in_front_of_the_camera_and_in_our_order(folder):
    version, root, truth = folder
    dataset = Ho3d(root)
    assert (dataset.version, len(dataset)) == (version, 2)
    for sample, hand in zip(dataset, truth["train"], strict=True):
        assert (sample.keypoints_m[:, 2] > 0.3).all()
        for k, name in enumerate(KEYPOINT_NAMES):
            np.testing.assert_allclose(sample.keypoints_m[k], hand.points_m[name], err_msg=name)
        uvw = hand.keypoints_m @ HO3D_K.T
        np.testing.assert_allclose(sample.keypoints_px, uvw[:, :2] / uvw[:, 2:])
        np.testing.assert_allclose(sample.root_m, hand.points_m["wrist"])


def test_image_is_that_of_the_listed_frame(folder):
    _, root, _ = folder
    sample = Ho3d(root)[1]
    assert sample.sample_id == "ABF11/0008"
    np.testing.assert_allclose(sample.load_image()[0, 0], [11, 100, 200], atol=2)


def test_pose_is_absolute_and_turned_with_the_axes(folder):
    _, root, truth = folder
    for sample, hand in zip(Ho3d(root, mano=root / "mano"), truth["train"], strict=True):
        assert not sample.pose_is_about_mean
        np.testing.assert_array_equal(sample.pose[3:], hand.pose[3:])
        np.testing.assert_allclose(sample.vertices_m, hand.vertices_m, atol=1e-6)
        tips = sample.vertices_m[list(sample.tip_vertices)]
        np.testing.assert_allclose(tips, sample.keypoints_m[[4, 8, 12, 16, 20]], atol=1e-6)


def test_evaluation_labels_come_from_the_published_files(folder):
    _, root, truth = folder
    sample, hand = Ho3d(root, split="evaluation")[1], truth["evaluation"][1]
    np.testing.assert_allclose(sample.keypoints_m, hand.keypoints_m)
    np.testing.assert_allclose(sample.vertices_m, hand.vertices_m)
    np.testing.assert_array_equal(sample.box_px, [100, 120, 300, 340])
    assert sample.pose is None


def test_evaluation_without_published_files_gives_wrist_and_box(tmp_path, caplog):
    truth = make_ho3d(tmp_path, version="v2")["evaluation"]
    for name in ("xyz", "verts"):
        (tmp_path / f"evaluation_{name}.json").unlink()
    sample = Ho3d(tmp_path, split="evaluation")[0]
    assert sample.keypoints_m is None
    assert not sample.keypoints_valid.any()
    np.testing.assert_allclose(sample.root_m, truth[0].points_m["wrist"])
    assert "evaluation_xyz.json" in caplog.text


@pytest.mark.parametrize("fault", ["axes", "frames"])
def test_evaluation_labels_that_contradict_the_wrist_are_refused(tmp_path, fault):
    make_ho3d(tmp_path, version="v2")
    path = tmp_path / "evaluation_xyz.json"
    xyz = np.array(json.loads(path.read_text()))
    xyz = xyz * OPENGL if fault == "axes" else xyz + np.array([0.1, 0.0, 0.0])
    path.write_text(json.dumps(xyz.tolist()))
    with pytest.raises(DatasetError, match=r"evaluation_xyz\.json: wrist 0.*OpenGL axes"):
        Ho3d(tmp_path, split="evaluation")[0]


def test_frame_without_annotation_is_told_apart_from_a_missing_key(tmp_path):
    make_ho3d(tmp_path, version="v3")
    path = tmp_path / "train" / "ABF10" / "meta" / "0007.pkl"
    write_meta(path, {"camMat": HO3D_K, "handJoints3D": None, "handPose": None}, "v3")
    with pytest.raises(NoHandError, match=r"0007\.pkl: this frame has no annotation"):
        Ho3d(tmp_path)[0]
    write_meta(path, {"camMat": HO3D_K, "handJoints3D": np.ones((21, 3))}, "v3")
    with pytest.raises(DatasetError, match=r"0007\.pkl: the key 'handPose' is missing.*camMat"):
        Ho3d(tmp_path)[0]


def test_a_meta_file_that_wants_to_run_something_is_refused(tmp_path):
    make_ho3d(tmp_path, version="v3")
    victim = tmp_path / "victim"

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(victim),)

    path = tmp_path / "train" / "ABF10" / "meta" / "0007.pkl"
    path.write_bytes(pickle.dumps({"camMat": HO3D_K, "handJoints3D": Runs()}, 4))
    with pytest.raises(DatasetError, match=r"0007\.pkl: asks for 'posix\.mkdir'"):
        Ho3d(tmp_path)[0]
    assert not victim.exists()


def test_missing_files_are_named(tmp_path):
    make_ho3d(tmp_path, version="v2")
    (tmp_path / "train" / "ABF10" / "meta" / "0007.pkl").unlink()
    with pytest.raises(DatasetError, match=r"meta/0007\.pkl: no such file"):
        Ho3d(tmp_path)[0]
    (tmp_path / "evaluation" / "ABF10" / "rgb" / "0007.png").unlink()
    with pytest.raises(DatasetError, match=r"rgb/0007: no such image.*\.png \(v2\) or \.jpg"):
        Ho3d(tmp_path, split="evaluation")[0]
    (tmp_path / "train.txt").unlink()
    with pytest.raises(DatasetError, match=r"train\.txt: no such file; expected one line"):
        len(Ho3d(tmp_path))
