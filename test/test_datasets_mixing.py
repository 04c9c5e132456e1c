"""Opening by name, sequences, samples that contradict themselves, and weighted mixtures."""

import pickle
from collections import Counter

import numpy as np
import pytest
from tiny_datasets import make_freihand, make_hint, mano_folder

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.training.datasets import (
    DatasetError,
    FreiHand,
    HandDataset,
    HandSample,
    HInt,
    MixedDataset,
    dataset_names,
    open_dataset,
)
from hand_mesh_ros.training.datasets.image_file import ReadImage


def sample(name, **changes):
    fields = {
        "sample_id": name,
        "load_image": ReadImage(np.zeros((8, 8, 3), np.uint8)),
        "camera": Camera.from_fov(8, 8, 60.0),
        "side": Side.RIGHT,
        "box_px": np.array([0.0, 0.0, 7.0, 7.0]),
        "keypoints_px": np.zeros((21, 2)),
        "keypoints_valid": np.ones(21, bool),
    }
    return HandSample(**(fields | changes))


class Numbers(HandDataset):
    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def _sample(self, index):
        return sample(f"{self.name}{index}")


# Opening


def test_open_by_name_with_options(tmp_path):
    make_freihand(tmp_path, frames=2)
    mano_folder(tmp_path / "mano")
    assert len(open_dataset(f"freihand:{tmp_path}")) == 8
    one = open_dataset(f"freihand:{tmp_path}?split=evaluation&mano={tmp_path / 'mano'}")
    assert isinstance(one, FreiHand)
    assert len(one) == 2
    assert not one[0].pose_is_about_mean
    make_hint(tmp_path)
    hint = open_dataset(f"hint:{tmp_path}?fov_deg=90")
    assert isinstance(hint, HInt)
    assert hint[0].camera.K[0, 0] == pytest.approx(30.0)


def test_known_names():
    assert tuple(n for n in dataset_names() if not n.endswith("_for_a_test")) == (
        "coco_wholebody",
        "dexycb",
        "freihand",
        "hint",
        "ho3d",
        "image_folder",
        "interhand",
        "rhd",
    )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("freihands:/tmp", "unknown; expected NAME:FOLDER.*dexycb, freihand, hint"),
        ("/tmp", "unknown; expected NAME:FOLDER"),
        ("freihand:", "has no folder"),
        ("freihand:/none/such", "/none/such: no such folder; expected FreiHAND"),
        ("freihand:{tmp}?split=test", "split 'test' is unknown; known: training, evaluation"),
        ("freihand:{tmp}?splits=training", "'splits=training'.*freihand has: split=, background="),
        ("freihand:{tmp}?split", "option 'split' of"),
        ("hint:{tmp}?fov_deg=wide", "option 'fov_deg'.*should be a number, got 'wide'"),
    ],
)
def test_a_spec_that_means_nothing_says_what_is_known(tmp_path, spec, says):
    with pytest.raises(DatasetError, match=says):
        open_dataset(spec.format(tmp=tmp_path))


def test_opening_reads_no_labels(tmp_path):
    open_dataset(f"freihand:{tmp_path}")  # the folder is empty


def test_datasets_and_samples_can_be_sent_to_worker_processes(tmp_path):
    make_freihand(tmp_path, frames=1)
    dataset = FreiHand(tmp_path)
    for copy in (pickle.loads(pickle.dumps(dataset)), [pickle.loads(pickle.dumps(dataset[0]))]):
        np.testing.assert_array_equal(copy[0].keypoints_m, dataset[0].keypoints_m)
        assert copy[0].load_image().shape == (224, 224, 3)


# Sequences


def test_indices_count_from_both_ends_and_stop_at_them():
    dataset = Numbers("a", 3)
    assert [s.sample_id for s in dataset] == ["a0", "a1", "a2"]
    assert dataset[-1].sample_id == "a2"
    for index in (3, -4):
        with pytest.raises(IndexError, match="of a dataset of 3"):
            dataset[index]


# Samples


def test_a_sample_does_not_contradict_itself():
    with pytest.raises(DatasetError, match=r"x: keypoints_m is \(16, 3\), expected \(21, 3\)"):
        sample("x", keypoints_m=np.zeros((16, 3)))
    points = np.zeros((21, 2))
    points[3] = np.nan
    with pytest.raises(DatasetError, match="x: keypoints_px has labels that are not finite"):
        sample("x", keypoints_px=points)
    valid = np.arange(21) != 3
    assert sample("x", keypoints_px=points, keypoints_valid=valid).keypoints_valid.sum() == 20


# Mixtures


def counts(mixture):
    return Counter(s.sample_id[0] for s in mixture)


def test_shares_are_exact_and_every_sample_comes_before_any_comes_again():
    mixture = MixedDataset([(Numbers("a", 100), 3.0), (Numbers("b", 4), 1.0)], length=40)
    assert counts(mixture) == {"a": 30, "b": 10}
    ids = Counter(s.sample_id for s in mixture)
    assert all(ids[f"b{i}"] in (2, 3) for i in range(4))
    assert max(n for name, n in ids.items() if name[0] == "a") == 1


def test_what_rounding_leaves_goes_to_the_largest_remainders():
    parts = [(Numbers(name, 5), weight) for name, weight in (("a", 0.5), ("b", 0.25), ("c", 0.25))]
    assert counts(MixedDataset(parts, length=7)) == {"a": 3, "b": 2, "c": 2}
    assert len(MixedDataset(parts)) == 15


def test_order_depends_on_seed_and_epoch_alone():
    def order(**options):
        parts = [(Numbers("a", 50), 1.0), (Numbers("b", 50), 1.0)]
        return [s.sample_id for s in MixedDataset(parts, length=20, **options)]

    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=2)
    assert order(seed=1, epoch=1) != order(seed=1)
    parts = [(Numbers("a", 50), 1.0), (Numbers("b", 50), 1.0)]
    later = MixedDataset(parts, length=20, seed=1).for_epoch(1)
    assert [s.sample_id for s in later] == order(seed=1, epoch=1)


def test_place_of_names_the_sample():
    parts = [Numbers("a", 9), Numbers("b", 9)]
    mixture = MixedDataset([(part, 1.0) for part in parts])
    for index in range(18):
        part, item = mixture.place_of(index)
        assert mixture[index].sample_id == parts[part][item].sample_id


@pytest.mark.parametrize(
    ("parts", "options", "says"),
    [
        ([], {}, "at least one dataset"),
        ([(Numbers("a", 3), 0.0)], {}, "weights must be above 0"),
        ([(Numbers("a", 3), float("nan"))], {}, "weights must be above 0"),
        ([(Numbers("a", 3), 1.0), (Numbers("b", 0), 1.0)], {}, "dataset 1 of the mixture is empty"),
        ([(Numbers("a", 3), 1.0)], {"length": 0}, "at least one sample"),
    ],
)
def test_mixtures_that_cannot_be(parts, options, says):
    with pytest.raises(DatasetError, match=says):
        MixedDataset(parts, **options)
