"""FreiHAND: backgrounds, keypoints, the mean pose, and labels that were once withheld."""

import json

import numpy as np
import pytest
from tiny_datasets import FREIHAND_TIPS, make_freihand, mano_folder

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.mano import load_mano
from hand_mesh_ros.training.datasets import DatasetError, FreiHand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("freihand")
    mano_folder(root / "mano")
    return root, make_freihand(root)


def test_labels_are_those_of_the_frame_for_every_background(folder):
    root, truth = folder
    dataset = FreiHand(root)
    assert len(dataset) == 12
    for index in (1, 4, 7, 10):  # frame 1 of 3, with each of the four backgrounds
        sample = dataset[index]
        np.testing.assert_allclose(sample.keypoints_m, truth["training"][1].keypoints_m)
        assert sample.camera.K[0, 0] == 481.0
        assert sample.load_image()[0, 0, 0] == pytest.approx(10 + index, abs=2)
        assert sample.sample_id == f"training/{index:08d}"


@pytest.mark.parametrize(
    ("background", "offset"), [("gs", 0), ("hom", 3), ("sample", 6), ("auto", 9)]
)
def test_one_background_alone(folder, background, offset):
    root, truth = folder
    dataset = FreiHand(root, background=background)
    assert len(dataset) == 3
    assert dataset[2].sample_id == f"training/{offset + 2:08d}"
    np.testing.assert_allclose(dataset[2].keypoints_m, truth["training"][2].keypoints_m)


def test_image_is_rgb_and_keypoints_project_by_the_frame_s_camera(folder):
    root, truth = folder
    sample = FreiHand(root, split="evaluation")[2]
    np.testing.assert_allclose(sample.load_image()[5, 7], [12, 100, 200], atol=2)
    xyz = truth["evaluation"][2].keypoints_m
    np.testing.assert_allclose(sample.keypoints_px[:, 0], 482.0 * xyz[:, 0] / xyz[:, 2] + 112.0)
    np.testing.assert_allclose(sample.keypoints_px[:, 1], 470.0 * xyz[:, 1] / xyz[:, 2] + 110.0)
    np.testing.assert_allclose(sample.box_px[:2], sample.keypoints_px.min(0))
    assert sample.side is Side.RIGHT
    assert sample.keypoints_valid.all()


def test_stored_pose_is_about_the_mean_until_mano_s_files_resolve_it(folder):
    root, truth = folder
    hand = truth["training"][0]
    without, resolved = FreiHand(root)[0], FreiHand(root, mano=root / "mano")[0]
    assert (without.pose_is_about_mean, resolved.pose_is_about_mean) == (True, False)
    np.testing.assert_allclose(resolved.pose, hand.pose)
    assert np.abs(without.pose - hand.pose).max() > 0.1
    # Each pose makes the labelled mesh with the model that its flag asks for, and only with that.
    wrist = without.keypoints_m[0]
    for sample in (without, resolved):
        errors_m = {}
        for flat in (True, False):
            model = load_mano(root / "mano", flat_hand_mean=flat)
            mesh = model.pose_hand(sample.pose, sample.shape).vertices_m + wrist
            errors_m[flat] = np.abs(mesh - sample.vertices_m).max()
        assert errors_m[not sample.pose_is_about_mean] < 1e-6
        assert errors_m[sample.pose_is_about_mean] > 5e-3


def test_tips_are_freihand_s_vertices(folder):
    sample = FreiHand(folder[0])[0]
    assert sample.tip_vertices == FREIHAND_TIPS
    tips = sample.vertices_m[list(sample.tip_vertices)]
    np.testing.assert_allclose(tips, sample.keypoints_m[[4, 8, 12, 16, 20]], atol=1e-6)


def test_evaluation_works_without_labels_and_says_which_file_is_missing(tmp_path, caplog):
    make_freihand(tmp_path, frames=1)
    for name in ("xyz", "verts", "mano"):
        (tmp_path / f"evaluation_{name}.json").unlink()
    sample = FreiHand(tmp_path, split="evaluation")[0]
    assert not sample.keypoints_valid.any()
    assert np.isnan(sample.keypoints_px).all()
    assert sample.keypoints_m is sample.vertices_m is sample.pose is sample.root_m is None
    np.testing.assert_array_equal(sample.box_px, [-0.5, -0.5, 223.5, 223.5])
    assert str(tmp_path / "evaluation_xyz.json") in caplog.text


def test_training_without_labels_is_an_error_that_names_the_file(tmp_path):
    make_freihand(tmp_path, frames=1)
    (tmp_path / "training_xyz.json").unlink()
    with pytest.raises(DatasetError, match=r"training_xyz\.json: no such file; expected 21"):
        FreiHand(tmp_path)[0]


def test_files_of_different_lengths_do_not_pass(tmp_path):
    make_freihand(tmp_path, frames=2)
    path = tmp_path / "training_K.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    with pytest.raises(DatasetError, match=r"training_xyz\.json: 2 frames.*has 1"):
        FreiHand(tmp_path)[0]
    path.write_text("[[[480, 0, 112], [0, 480, 112], [0, 0]]]")
    with pytest.raises(DatasetError, match=r"training_K\.json: 8 numbers.*3 x 3"):
        FreiHand(tmp_path)[0]
