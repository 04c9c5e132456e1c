"""What image networks are trained on: crops whose labels fit, in every mixture, run after run."""

import itertools
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.conventions import Side  # noqa: E402
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands  # noqa: E402
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402
from hand_mesh_ros.hand_models.torch_hand import TorchHand  # noqa: E402
from hand_mesh_ros.networks.m3dhmr import M3DHMR, M3DHMRConfig  # noqa: E402
from hand_mesh_ros.training.batch_stream import BatchStream  # noqa: E402
from hand_mesh_ros.training.dataset_crops import DatasetCrops  # noqa: E402
from hand_mesh_ros.training.datasets import (  # noqa: E402
    DatasetError,
    HandDataset,
    register_dataset,
)
from hand_mesh_ros.training.image_task import ImageTaskOptions  # noqa: E402
from hand_mesh_ros.training.landmark_noise import LandmarkNoise  # noqa: E402
from hand_mesh_ros.training.m3dhmr_task import M3DHMRTask, M3DHMRTaskOptions  # noqa: E402
from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402
from hand_mesh_ros.training.synthetic_config import SyntheticConfig  # noqa: E402
from hand_mesh_ros.training.synthetic_visibility import project  # noqa: E402
from hand_mesh_ros.training.typed_config import ConfigError  # noqa: E402

IMAGES = SyntheticConfig(bank_size=20, skin_detail=0, truncation=0.0)
OPTIONS = M3DHMRTaskOptions(images=IMAGES, validation_hands=5)
TINY = M3DHMRConfig(
    stack_widths=(8,),
    hourglass_width=8,
    image_size_px=64,
    mesh_widths=(8, 8, 8, 8, 8),
    kernels=2,
    landmark_cue=True,
)
CPU = torch.device("cpu")


def task(options=OPTIONS, *, config=TINY, model=None, batch_size=4, **changes):
    model = model or load_open_hand()
    torch.manual_seed(0)
    options = replace(options, **changes)
    return M3DHMRTask(M3DHMR(config, model), options, model=model, batch_size=batch_size)


def batches(of, n=1, split="train", **place):
    made = of.batches(BatchStream(split, CPU, **place))
    taken = list(itertools.islice(made, n))
    made.close()
    return taken


def check_labels(batch, model, *, atol_m=1e-4):
    """All labels of a batch say the same of its hands."""
    n = len(batch["image"])
    size_px = batch["image"].shape[-1]
    for values in batch.values():
        assert torch.isfinite(values.float()).all()
    hand = TorchHand(model)
    posed = hand(batch["rotations"], batch["shape"])
    assert torch.allclose(posed.vertices_m, batch["vertices_m"], atol=atol_m)
    for name in ("anatomical", "detector"):
        points = batch[f"{name}_m"]
        at = hand.keypoints(posed, batch["shape"], name)
        assert (points - at).norm(dim=-1).mean() < 5 * atol_m
        px = project(points + batch["root_m"][:, None], batch["K_crop"])
        uv = (px + 0.5) / size_px
        assert torch.allclose(uv, batch[f"{name}_uv"], atol=1e-4)
    assert torch.equal(batch["K_crop"][:, :2, 2], torch.full((n, 2), 0.5 * (size_px - 1)))


def test_labels_of_the_engine_fit_each_other():
    model = load_open_hand()
    by_size = {}
    for template_size in (False, True):
        (batch,) = batches(task(template_size=template_size))
        assert batch["image"].shape == (4, 3, 64, 64)
        check_labels(batch, model)
        lengths = model.hand_lengths_m(batch["shape"].double().numpy())
        template = model.hand_length_m(np.zeros(10))
        if template_size:
            np.testing.assert_allclose(lengths, template, rtol=2e-3)
            assert batch["size"].std() > 0.01
        else:
            assert (batch["size"] == 1.0).all()
        by_size[template_size] = batch
    # The same hands in the same images: only the units differ.
    first, second = by_size[False], by_size[True]
    assert torch.equal(first["image"], second["image"])
    assert torch.allclose(
        second["vertices_m"] * second["size"][:, None, None], first["vertices_m"], atol=1e-5
    )
    assert torch.allclose(second["root_m"] * second["size"][:, None], first["root_m"], atol=1e-5)


def test_the_cue_is_off_as_a_detector_is():
    made = torch.cat([b["landmark_cue"][..., :2] - b["detector_uv"] for b in batches(task(), 6)])
    error = made.norm(dim=-1)  # of the crop; a hand's box is 0.5 to 0.7 of it
    assert 0.005 < error.median() < 0.04
    assert (batches(task())[0]["landmark_cue"][..., 2] == 1.0).all()


def test_landmarks_that_things_cover_are_three_times_as_far_off():
    """The same hands, with a thing before them and without: the others have the same errors."""
    things = ("held_object", "pinched_object", "passing_object", "second_hand")
    shares = dict.fromkeys(things, 0.0)
    free, hidden = (
        batches(task(images=replace(IMAGES, **{**shares, "passing_object": share})), 6)
        for share in (0.0, 1.0)
    )
    errors = [
        torch.cat([b["landmark_cue"][..., :2] - b["detector_uv"] for b in made])
        for made in (free, hidden)
    ]
    covered = torch.cat([b["keypoint_covered"] for b in hidden])
    assert not any(b["keypoint_covered"].any() or b["covered"].any() for b in free)
    assert 0.1 < covered.float().mean() < 0.7
    assert not (covered & torch.cat([b["keypoint_visible"] for b in hidden])).any()
    assert torch.allclose(errors[0][~covered], errors[1][~covered], atol=1e-6)
    # A crop is a plane: three times the error in the hand's own view is about that here.
    ratio = errors[1][covered].norm(dim=1) / errors[0][covered].norm(dim=1)
    assert 2.5 < ratio.median() < 3.5


def test_batches_depend_on_seed_rank_and_step_alone():
    one = batches(task(), 3)
    again = batches(task(), 3)
    for a, b in zip(one, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    resumed = batches(task(), 1, start_step=2)[0]
    assert all(torch.equal(resumed[name], one[2][name]) for name in resumed)
    for change in ({"seed": 1}, {"rank": 1, "world_size": 2}, {"start_step": 1}):
        other = batches(task(), 1, **change)[0]
        assert (other["vertices_m"] - one[0]["vertices_m"]).abs().max() > 0.01
        assert (other["landmark_cue"] - one[0]["landmark_cue"]).abs().max() > 0.01


def test_validation_hands_are_the_same_in_all_runs_and_not_those_of_training():
    of = task()
    seen = batches(of, 9, split="val")
    assert [len(b["image"]) for b in seen] == [5]
    again = batches(task(), 9, split="val", seed=7)
    assert torch.equal(seen[0]["image"], again[0]["image"])
    train = {tuple(s.tolist()) for b in batches(of, 6) for s in b["shape"]}
    assert not train & {tuple(s.tolist()) for s in seen[0]["shape"]}


def test_two_views_show_the_same_hands_turned():
    of = task(two_views=True, view_rotation_deg=60.0)
    (batch,) = batches(of)
    check_labels(batch, load_open_hand())
    R, A = batch["R_second_first"], batch["A_second_first"]
    first, second = batch["vertices_m"].chunk(2)
    assert torch.allclose(first @ R.transpose(1, 2), second, atol=1e-6)
    a, b = batch["anatomical_uv"].chunk(2)
    moved = a @ A[:, :, :2].transpose(1, 2) + A[:, None, :, 2]
    assert torch.allclose(moved, b, atol=1e-5)
    assert (a - b).abs().max() > 0.05
    # The pictures turn with them: the second mask covers the second mesh.
    px = (
        project(batch["vertices_m"] + batch["root_m"][:, None], batch["K_crop"])
        .round()
        .long()
        .clamp(0, 63)
    )
    visible = batch["visibility"]
    for i in range(4):
        x, y = px[i][visible[i]].unbind(-1)
        grown = cv2.dilate(batch["mask"][i].numpy().astype(np.uint8), np.ones((3, 3)))
        assert grown[y.numpy(), x.numpy()].mean() > 0.9
    # Undone, the second picture is the first, but for sampling twice and other colours.
    angle = np.degrees(np.arctan2(R[0, 1, 0], R[0, 0, 0]))
    scale = float(A[0, :, 0].norm())
    back = cv2.getRotationMatrix2D((31.5, 31.5), float(angle), 1.0 / scale)
    image = batch["image"][2].permute(1, 2, 0).numpy()
    undone = cv2.warpAffine(image, back, (64, 64))[16:48, 16:48]
    original = batch["image"][0].permute(1, 2, 0).numpy()[16:48, 16:48]
    assert np.corrcoef(undone.ravel(), original.ravel())[0, 1] > 0.9
    assert np.corrcoef(image[16:48, 16:48].ravel(), original.ravel())[0, 1] < 0.9


@cache
def small_images():
    """Labels of six rendered hands."""
    hands = (hand.labels for hand in SyntheticHands(load_open_hand(), 60, 3))
    return list(itertools.islice((h for h in hands if h.camera.width <= 848), 6))


@register_dataset("rendered_for_a_test")
class Rendered(HandDataset):
    """Rendered hands of both sides in the form of a data set, as if its meshes were MANO's."""

    def __init__(self, root):
        self._hands = small_images()

    def __len__(self):
        return len(self._hands)

    def _sample(self, index):
        return self._hands[index]


SPEC = "rendered_for_a_test:/nowhere"
MANO = replace(load_open_hand(), name="mano")


def test_data_sets_are_mixed_in_by_weight():
    of = task(model=MANO, batch_size=8, datasets={SPEC: 1.0}, engine_weight=3.0)
    (batch,) = batches(of)
    assert batch["image"].shape == (8, 3, 64, 64)
    assert "mask" not in batch
    check_labels(batch, MANO, atol_m=3e-4)
    losses = of.losses(batch, step=0)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_crops_of_data_sets_show_what_their_labels_say():
    assert {labels.side for labels in Rendered("")} == set(Side)
    images = replace(IMAGES, color_jitter=0.0, box_rotation_deg=40.0)
    of = task(images=images, model=MANO, batch_size=6, datasets={SPEC: 1.0}, engine_weight=0.0)
    first, second = batches(of, 2)
    check_labels(first, MANO, atol_m=3e-4)
    # One epoch has every hand once, and the next has them in other crops.
    shapes = [{tuple(s.tolist()) for s in b["shape"]} for b in (first, second)]
    assert len(shapes[0]) == 6
    assert shapes[0] == shapes[1]
    assert not torch.equal(first["image"], second["image"])
    (resumed,) = batches(of, 1, start_step=1)
    assert torch.equal(resumed["image"], second["image"])
    # Skin is redder than it is blue; the room is not.
    redness = first["image"][:, 0] - first["image"][:, 2]
    for uv, red in zip(first["detector_uv"], redness, strict=True):
        x, y = (uv[[1, 5, 9, 13, 17]] * 64).long().clamp(0, 63).unbind(-1)
        assert red[y, x].median() > 0.05
        assert red.median() < 0.05


def test_data_sets_that_do_not_fit_are_refused():
    with pytest.raises(DatasetError, match="the data sets' meshes are mano's") as error:
        batches(task(datasets={SPEC: 1.0}))
    assert "hand.model=mano" in str(error.value)
    crops = DatasetCrops(
        {SPEC: 1.0}, MANO, replace(IMAGES, size_px=64), LandmarkNoise.load(), template_size=True,
        seed=0,
    )  # fmt: skip
    bare = replace(Rendered("")[0], pose=None)
    with pytest.raises(DatasetError, match="has no mesh, pose or shape"):
        crops._crop(bare, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine_weight": 0.0}, "something to train on"),
        ({"engine_weight": -1.0}, "engine_weight is -1"),
        ({"datasets": {"freihand:/x": 0.0}}, "weight of freihand:/x is 0"),
        ({"view_scale": (1.2, 0.8)}, "view_scale"),
        ({"validation_hands": 0}, "validation_hands is 0"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(ImageTaskOptions(), **changes)


def test_two_views_need_an_even_batch():
    with pytest.raises(ConfigError, match="batch_size is 5"):
        task(two_views=True, batch_size=5)


class Oracle(torch.nn.Module):
    """Answers with the labels of the batch it was made of, moved, turned and scaled."""

    def __init__(self, batch, *, shift_uv=0.0, scale=1.0, turn_rad=0.0, dent_m=0.0):
        super().__init__()
        c, s = np.cos(turn_rad), np.sin(turn_rad)
        R = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]).float()
        vertices = scale * batch["vertices_m"] @ R.T
        keypoints = scale * batch["anatomical_m"] @ R.T
        # Every other point to and fro: no alignment takes that away.
        vertices[:, ::2, 0] += dent_m
        vertices[:, 1::2, 0] -= dent_m
        self.out = {
            "vertices_m": vertices,
            "keypoints_m": keypoints,
            "keypoints_uv": batch["anatomical_uv"] + torch.tensor([shift_uv, 0.0]),
        }

    def forward(self, image, landmark_cue=None):
        return self.out


def test_figures_are_those_of_known_errors():
    of = task()
    (batch,) = batches(of, split="val")
    exact = of.validate(Oracle(batch), [batch])
    assert next(iter(exact)) == "pa_mpjpe_mm"
    for name in ("pa_mpjpe_mm", "pa_mpvpe_mm", "uv_error_percent", "palm_turn_rad"):
        assert exact[name] < 1e-2
    sizes = np.log(batch["size"].numpy())
    assert exact["size_stddev"] == pytest.approx(np.sqrt((sizes**2).mean()), rel=1e-3)
    off = of.validate(Oracle(batch, shift_uv=0.03, turn_rad=0.2, scale=1.1, dent_m=2e-3), [batch])
    assert off["uv_error_percent"] == pytest.approx(3.0, rel=1e-3)
    assert off["palm_turn_rad"] == pytest.approx(0.2, rel=0.05)
    assert off["pa_mpjpe_mm"] < 1e-2
    assert off["pa_mpvpe_mm"] == pytest.approx(2.0 / 1.1, rel=0.05)
    expected = np.sqrt(((sizes - np.log(1.1)) ** 2).mean())
    assert off["size_stddev"] == pytest.approx(expected, rel=0.02)


def test_pictures_and_preview():
    of = task()
    (batch,) = batches(of, split="val")
    right = of.pictures(Oracle(batch), batch)["hands"]
    assert right.dtype == np.uint8
    assert right.shape == (384, 5 * 192, 3)
    wrong = of.pictures(Oracle(batch, turn_rad=0.5), batch)["hands"]
    upper, lower = np.abs(right.astype(int) - wrong)[:192], np.abs(right.astype(int) - wrong)[192:]
    assert upper.max() == 0  # the landmarks are the same, the meshes are not
    assert lower.max() > 50
    behind = Oracle(batch, scale=-20.0)
    assert of.pictures(behind, batch)["hands"].shape == right.shape
    assert of.preview(3).shape[1] % 96 == 0


def test_preprocessing_is_the_middle_of_the_crops():
    images = replace(IMAGES, box_scale=(1.5, 1.9))
    assert task(images=images).preprocessing() == {"box_factor": pytest.approx(1.7)}


def test_losses_by_stage_and_view():
    of = task(pretraining_steps=3, two_views=True)
    (batch,) = batches(of)
    assert set(of.losses(batch, step=2)) == {"heatmap", "pose2d"}
    assert set(of.losses(batch, step=3)) == {"mesh", "pose2d", "normal", "edge", "con3d", "con2d"}
    plain = task()
    losses = plain.losses(batches(plain)[0], step=0)
    assert set(losses) == {"mesh", "pose2d", "normal", "edge"}
    no_edge = task(weights=replace(OPTIONS.weights, edge=0.0))
    assert "edge" not in no_edge.losses(batches(no_edge)[0], step=0)


def test_the_lifting_matrix_learns_at_its_own_rate():
    of = task(lift_learning_rate=0.02)
    *others, lift = of.parameter_groups(0.01)
    assert lift["lr"] == 0.02
    assert [p is of.network.lift for p in lift["params"]] == [True]
    grouped = sum(len(group["params"]) for group in others) + 1
    assert grouped == len(list(of.network.parameters()))
    assert len(task(lift_learning_rate=0.0).parameter_groups(0.01)) == 2


@pytest.mark.parametrize("name", ["m3dhmr", "m3dhmr_paper"])
def test_registered_tasks_and_their_yaml(name):
    config = default_run_config(name)
    assert config.changed({"task": {"images": {"noise": 0.1}}}).task.images.noise == 0.1
    assert "two_views" in config.to_yaml()
    with pytest.raises(ConfigError, match=r"box_shift is 0\.9"):
        config.assigned(["task.images.box_shift=0.9"])
