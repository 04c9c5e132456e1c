"""COCO-WholeBody, HInt, RHD and plain folders: sides, orders, labelled and visible points."""

import json
import pickle

import numpy as np
import pytest
from tiny_datasets import make_coco, make_hint, make_rhd, write_image

from hand_mesh_ros.conventions import KEYPOINT_NAMES, Side
from hand_mesh_ros.training.datasets import (
    CocoWholeBody,
    DatasetError,
    HInt,
    ImageError,
    ImageFolder,
    Rhd,
)

# COCO-WholeBody


def test_coco_keeps_valid_hands_with_enough_points(tmp_path):
    make_coco(tmp_path)
    ids = [sample.sample_id for sample in CocoWholeBody(tmp_path, split="val")]
    assert ids == ["val/900/left", "val/901/right"]


def test_coco_points_with_v_above_zero_are_labelled(tmp_path):
    points = make_coco(tmp_path)
    sample = CocoWholeBody(tmp_path, split="val")[0]
    assert sample.side is Side.LEFT
    assert sample.keypoints_valid.tolist() == [True] * 19 + [False] * 2  # the first has v = 1
    np.testing.assert_allclose(sample.keypoints_px[:19], points[:19, :2])
    assert np.isnan(sample.keypoints_px[19:]).all()
    np.testing.assert_array_equal(sample.box_px, [5, 6, 25, 36])
    assert sample.keypoints_m is sample.keypoints_visible is None
    assert sample.camera.assumed
    assert (sample.camera.width, sample.camera.height) == (64, 48)
    assert sample.load_image().shape == (48, 64, 3)


def test_coco_names_a_missing_key(tmp_path):
    make_coco(tmp_path)
    path = tmp_path / "annotations" / "coco_wholebody_val_v1.0.json"
    data = json.loads(path.read_text())
    del data["annotations"][0]["lefthand_kpts"]
    path.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"val_v1\.0\.json: the key 'lefthand_kpts' is missing"):
        len(CocoWholeBody(tmp_path, split="val"))


# HInt


def test_hint_side_occlusion_and_box(tmp_path, caplog):
    entry = make_hint(tmp_path)
    dataset = HInt(tmp_path)
    assert [sample.side for sample in dataset] == [Side.LEFT, Side.RIGHT]
    assert "1 of 3 labels have no image" in caplog.text
    sample = dataset[0]
    np.testing.assert_allclose(sample.keypoints_px, entry["keypoints"])
    assert np.flatnonzero(~sample.keypoints_visible).tolist() == [4, 8]
    assert sample.keypoints_valid.all()  # occluded points are labelled all the same
    np.testing.assert_array_equal(sample.box_px, [3, 4, 33, 44])
    assert sample.load_image().shape == (50, 60, 3)
    assert (sample.camera.width, sample.camera.height) == (60, 50)


def test_hint_needs_the_side_in_the_name_and_images(tmp_path):
    make_hint(tmp_path)
    folder = tmp_path / "TEST_newdays_img"
    for path in folder.glob("*.jpg"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"3 labels, but none of their images.*boat_12_l\.jpg"):
        len(HInt(tmp_path))
    (folder / "boat_12.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"boat_12\.json: expected a name ending in _l or _r"):
        len(HInt(tmp_path))
    with pytest.raises(DatasetError, match=r"VAL_epick_img: no such folder"):
        HInt(tmp_path, split="val", subset="epick_img")


# RHD


def test_rhd_halves_and_orders(tmp_path):
    truth = make_rhd(tmp_path)
    dataset = Rhd(tmp_path)
    assert [sample.sample_id for sample in dataset] == [
        "training/00000/right",
        "training/00003/left",
        "training/00003/right",
    ]
    for sample in dataset:
        points = truth[int(sample.sample_id.split("/")[1]), sample.side]
        for k, name in enumerate(KEYPOINT_NAMES):
            np.testing.assert_allclose(sample.keypoints_m[k], points[name], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            sample.camera.project(sample.keypoints_m), sample.keypoints_px, atol=1e-3
        )
        assert np.flatnonzero(~sample.keypoints_visible).tolist() == [4]
        assert sample.keypoints_valid.all()
    np.testing.assert_array_equal(dataset[1].load_image()[0, 0], [13, 100, 200])


def test_rhd_labels_of_another_form_are_refused(tmp_path):
    make_rhd(tmp_path)
    path = tmp_path / "training" / "anno_training.pickle"
    path.write_bytes(pickle.dumps({0: {"K": np.eye(3)}}, 3))
    with pytest.raises(DatasetError, match=r"anno_training\.pickle: the key 'uv_vis' is missing"):
        len(Rhd(tmp_path))
    path.write_bytes(pickle.dumps([1, 2], 3))
    with pytest.raises(DatasetError, match=r"anno_training\.pickle: expected a dictionary"):
        len(Rhd(tmp_path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DatasetError, match=r"anno_training\.pickle: damaged pickle"):
        len(Rhd(tmp_path))
    with pytest.raises(DatasetError, match=r"anno_evaluation\.pickle: no such file"):
        len(Rhd(tmp_path, split="evaluation"))


# Plain folders


def test_folder_of_images_invents_no_labels(tmp_path):
    for number, name in enumerate(("10.png", "2.png")):
        write_image(tmp_path / name, number, 40, 30)
    np.save(tmp_path / "2_K.npy", [[50.0, 0, 20], [0, 50, 15], [0, 0, 1]])
    dataset = ImageFolder(tmp_path)
    assert [sample.sample_id for sample in dataset] == ["2.png", "10.png"]
    calibrated, assumed = dataset
    assert (calibrated.camera.K[0, 0], calibrated.camera.assumed) == (50.0, False)
    assert assumed.camera.assumed
    assert calibrated.side is None
    assert not calibrated.keypoints_valid.any()
    np.testing.assert_array_equal(calibrated.box_px, [-0.5, -0.5, 39.5, 29.5])
    np.testing.assert_array_equal(calibrated.load_image()[0, 0], [11, 100, 200])


def test_folder_without_images_or_with_a_damaged_one(tmp_path):
    with pytest.raises(DatasetError, match="no images in the folder"):
        len(ImageFolder(tmp_path))
    (tmp_path / "a.jpg").write_text("<html>")
    with pytest.raises(ImageError, match=r"a\.jpg: not an image"):
        ImageFolder(tmp_path)[0]
