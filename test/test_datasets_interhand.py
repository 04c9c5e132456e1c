"""InterHand2.6M: world axes in mm, right and left halves, invalid joints, fits about the mean."""

import json

import numpy as np
import pytest
from tiny_datasets import make_interhand, mano_folder

from hand_mesh_ros.conventions import KEYPOINT_NAMES, Side
from hand_mesh_ros.training.datasets import DatasetError, InterHand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("interhand")
    mano_folder(root / "mano")
    return root, make_interhand(root)


def by_hand(dataset):
    """Samples by (frame, side), the frame read back from the id."""
    return {(int(s.sample_id.split("/")[-2][-1]), s.side): s for s in dataset}


def test_a_picture_of_two_hands_gives_two_samples(folder):
    samples = by_hand(InterHand(folder[0], split="test"))
    assert set(samples) == set(folder[1])
    assert samples[2, Side.LEFT].sample_id == ("test/Capture5/0266_dh_pray/cam400030/image2/left")
    np.testing.assert_allclose(samples[2, Side.LEFT].load_image()[0, 0], [12, 100, 200], atol=2)


def test_joints_are_moved_into_the_camera_and_into_our_order(folder):
    root, truth = folder
    for key, sample in by_hand(InterHand(root, split="test")).items():
        for k, name in enumerate(KEYPOINT_NAMES):
            if sample.keypoints_valid[k]:
                np.testing.assert_allclose(
                    sample.keypoints_m[k], truth[key].points_m[name], atol=1e-9, err_msg=name
                )
        x, y, z = sample.keypoints_m[6]
        np.testing.assert_allclose(
            sample.keypoints_px[6], [1200.0 * x / z + 160.0, 1210.0 * y / z + 250.0]
        )


def test_invalid_joints_are_marked_and_carry_no_numbers(folder):
    sample = by_hand(InterHand(folder[0], split="test"))[2, Side.LEFT]
    assert np.flatnonzero(~sample.keypoints_valid).tolist() == [KEYPOINT_NAMES.index("thumb_tip")]
    assert np.isnan(sample.keypoints_m[4]).all()
    assert np.isnan(sample.keypoints_px[4]).all()
    assert np.isfinite(sample.box_px).all()


def test_box_is_the_annotated_one_for_one_hand_and_the_hand_s_own_for_two(folder):
    samples = by_hand(InterHand(folder[0], split="test"))
    np.testing.assert_array_equal(samples[0, Side.RIGHT].box_px, [10, 20, 110, 170])
    right = samples[2, Side.RIGHT]
    np.testing.assert_allclose(right.box_px[2:], right.keypoints_px.max(0))


def test_fits_are_turned_into_the_camera_and_freed_of_the_mean(folder):
    root, truth = folder
    samples = by_hand(InterHand(root, split="test", mano=root / "mano"))
    plain = by_hand(InterHand(root, split="test"))
    for key, hand in truth.items():
        sample = samples[key]
        assert (sample.pose_is_about_mean, plain[key].pose_is_about_mean) == (False, True)
        np.testing.assert_allclose(sample.pose[3:], hand.pose[3:])
        assert np.abs(plain[key].pose[3:] - hand.pose[3:]).max() > 0.1
        np.testing.assert_allclose(sample.pose[:3], plain[key].pose[:3])
        np.testing.assert_allclose(sample.vertices_m, hand.vertices_m, atol=1e-6)
        assert sample.tip_vertices is None


def test_without_fits_the_joints_remain(tmp_path, caplog):
    make_interhand(tmp_path)
    path = tmp_path / "annotations" / "test" / "InterHand2.6M_test_MANO_NeuralAnnot.json"
    path.unlink()
    sample = InterHand(tmp_path, split="test")[0]
    assert sample.pose is None
    assert sample.keypoints_valid.all()
    assert str(path) in caplog.text


def test_what_is_missing_is_named(tmp_path):
    make_interhand(tmp_path)
    folder = tmp_path / "annotations" / "test"
    path = folder / "InterHand2.6M_test_joint_3d.json"
    joints = json.loads(path.read_text())
    del joints["5"]["0"]
    path.write_text(json.dumps(joints))
    with pytest.raises(DatasetError, match=r"test_joint_3d\.json: the key '0' is missing"):
        InterHand(tmp_path, split="test")[0]
    path.write_text("{")
    with pytest.raises(DatasetError, match=r"test_joint_3d\.json: not readable as JSON"):
        InterHand(tmp_path, split="test")[0]
    path = folder / "InterHand2.6M_test_camera.json"
    path.unlink()
    with pytest.raises(DatasetError, match=r"test_camera\.json: no such file; expected the cam"):
        InterHand(tmp_path, split="test")[0]
    with pytest.raises(DatasetError, match=r"InterHand2\.6M_val_data\.json: no such file"):
        len(InterHand(tmp_path, split="val"))
    with pytest.raises(DatasetError, match=r"split 'train2' is unknown; known: train, val, test"):
        InterHand(tmp_path, split="train2")
