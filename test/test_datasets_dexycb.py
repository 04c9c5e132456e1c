"""DexYCB: official splits, absent hands, principal components, manopth's fingertips, both sides."""

import shutil
from itertools import islice

import numpy as np
import pytest
from tiny_datasets import MANOPTH_TIPS, make_dexycb, mano_folder

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.training.datasets import DatasetError, DexYcb, NoHandError
from hand_mesh_ros.training.datasets.dexycb import parts_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("dexycb")
    mano_folder(root / "mano")
    return root / "data", root / "mano", make_dexycb(root / "data")


# Test of s0 begins with subject 2, sequences 4 (right) and 9 (left), 8 cameras x 3 frames each.
RIGHT, LEFT = 0, 24


@pytest.mark.parametrize(
    ("setup", "split", "subjects", "sequences", "cameras"),
    [
        ("s0", "train", 10, 80, 8),
        ("s0", "val", 2, 20, 8),
        ("s0", "test", 8, 20, 8),
        ("s1", "train", 7, 100, 8),
        ("s1", "val", 1, 100, 8),
        ("s1", "test", 2, 100, 8),
        ("s2", "train", 10, 100, 6),
        ("s2", "val", 10, 100, 1),
        ("s2", "test", 10, 100, 1),
        ("s3", "train", 10, 75, 8),
        ("s3", "val", 10, 10, 8),
        ("s3", "test", 10, 15, 8),
    ],
)
def test_sizes_of_the_official_splits(setup, split, subjects, sequences, cameras):
    assert tuple(len(p) for p in parts_of(setup, split)) == (subjects, sequences, cameras)


def test_members_of_the_official_splits():
    assert parts_of("s0", "test").sequences[:3] == (4, 9, 14)
    assert parts_of("s0", "train").sequences[:5] == (0, 1, 2, 3, 5)
    assert parts_of("s0", "val").subjects == (0, 1)
    assert parts_of("s1", "train").subjects == (0, 1, 2, 3, 4, 5, 9)
    assert parts_of("s2", "val").cameras == (6,)
    assert parts_of("s3", "val").sequences == (*range(15, 20), *range(95, 100))
    assert parts_of("s3", "test").sequences[5:10] == tuple(range(55, 60))
    for setup in ("s0", "s1", "s2", "s3"):
        parts = [parts_of(setup, split) for split in ("train", "val", "test")]
        cells = [
            {(a, b, c) for a in p.subjects for b in p.sequences for c in p.cameras} for p in parts
        ]
        assert sum(map(len, cells)) == len(set().union(*cells)) == 10 * 100 * 8


def test_length_counts_frames_of_all_cameras(folder):
    assert len(DexYcb(folder[0], split="test")) == 8 * 20 * 8 * 3


def test_absent_hand_is_an_error_of_its_own(folder):
    dataset = DexYcb(folder[0], split="test")
    with pytest.raises(NoHandError, match=r"labels_000000\.npz: no hand in this frame"):
        dataset[RIGHT]
    assert dataset[RIGHT + 1].keypoints_valid.all()


def test_iteration_can_pass_over_frames_without_a_hand(folder):
    found = islice(DexYcb(folder[0], split="test").with_hands(), 2)
    assert [sample.sample_id[-6:] for sample in found] == ["000001", "000002"]


@pytest.mark.parametrize(
    ("index", "number", "side"), [(RIGHT + 1, 4, Side.RIGHT), (LEFT + 2, 9, Side.LEFT)]
)
def test_labels_and_mesh(folder, index, number, side):
    root, mano, truth = folder
    frame = index % 3
    sample, hand = DexYcb(root, split="test", mano=mano)[index], truth[2, number, frame]
    assert sample.side is side
    assert sample.sample_id == (
        f"20200712-person2/20200712_{number + 100000}/836212060120/{frame:06d}"
    )
    np.testing.assert_allclose(sample.keypoints_m, hand.keypoints_m)
    np.testing.assert_allclose(sample.camera.project(sample.keypoints_m), sample.keypoints_px)
    np.testing.assert_allclose(sample.pose, hand.pose, atol=1e-12)
    assert not sample.pose_is_about_mean
    np.testing.assert_allclose(sample.shape, hand.shape)
    np.testing.assert_allclose(sample.vertices_m, hand.vertices_m, atol=1e-6)
    assert sample.tip_vertices == MANOPTH_TIPS[side]
    tips = sample.vertices_m[list(sample.tip_vertices)]
    np.testing.assert_allclose(tips, sample.keypoints_m[[4, 8, 12, 16, 20]], atol=1e-6)
    np.testing.assert_allclose(sample.load_image()[0, 0], [10 + frame, 100, 200], atol=2)


def test_without_mano_there_is_no_pose_rather_than_a_wrong_one(folder):
    sample = DexYcb(folder[0], split="test")[RIGHT + 1]
    assert sample.pose is None
    assert sample.vertices_m is None
    assert sample.shape is not None


def test_each_camera_has_its_own_matrix(folder):
    dataset = DexYcb(folder[0], setup="s2", split="test")
    assert dataset._camera(dataset._serials[0]).K[0, 0] == 617.0


def test_a_missing_folder_would_shift_the_splits_and_is_refused(tmp_path):
    make_dexycb(tmp_path)
    shutil.rmtree(tmp_path / "20200712-person2" / "20200712_100050")
    with pytest.raises(DatasetError, match=r"person2: 99 sequences, expected all 100"):
        len(DexYcb(tmp_path, split="test"))
    shutil.rmtree(tmp_path / "20200715-person5")
    with pytest.raises(DatasetError, match=r"9 subjects, expected all 10"):
        len(DexYcb(tmp_path, split="test"))


def test_missing_and_damaged_labels_are_named(tmp_path):
    make_dexycb(tmp_path)
    dataset = DexYcb(tmp_path, split="test")
    folder = tmp_path / "20200712-person2" / "20200712_100004" / "836212060120"
    (folder / "labels_000001.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DatasetError, match=r"labels_000001\.npz: not a readable \.npz"):
        dataset[1]
    np.savez(folder / "labels_000001.npz", joint_3d=np.zeros((1, 21, 3)))
    with pytest.raises(DatasetError, match=r"labels_000001\.npz: the key 'joint_2d' is missing"):
        dataset[1]
    np.savez(folder / "labels_000001.npz", joint_3d=np.array([None]))
    with pytest.raises(DatasetError, match=r"labels_000001\.npz: not a readable \.npz of plain"):
        dataset[1]
    (folder / "labels_000001.npz").unlink()
    with pytest.raises(DatasetError, match=r"labels_000001\.npz: no such file"):
        dataset[1]
