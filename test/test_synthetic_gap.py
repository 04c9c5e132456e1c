"""What brings the synthetic images nearer to photographs: each effect acts where it should."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mano_like import write_mano_like

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS  # noqa: E402
from hand_mesh_ros.hand_models.mano import load_mano  # noqa: E402
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402  # torch may be absent
from hand_mesh_ros.training.synthetic import SyntheticImages  # noqa: E402
from hand_mesh_ros.training.synthetic_adornments import adornment_marks  # noqa: E402
from hand_mesh_ros.training.synthetic_clutter import add_clutter  # noqa: E402
from hand_mesh_ros.training.synthetic_config import SyntheticConfig  # noqa: E402
from hand_mesh_ros.training.synthetic_dice import Dice  # noqa: E402
from hand_mesh_ros.training.synthetic_light import _box_mean  # noqa: E402
from hand_mesh_ros.training.synthetic_mesh import cube_grid  # noqa: E402
from hand_mesh_ros.training.synthetic_objects import pinched_objects  # noqa: E402
from hand_mesh_ros.training.synthetic_response import (  # noqa: E402
    chroma_noise,
    sharper,
    tone_curve,
    vignette,
)
from hand_mesh_ros.training.synthetic_scene import Scene  # noqa: E402
from hand_mesh_ros.training.synthetic_skin import (  # noqa: E402
    PALM_NORMAL,
    SKIN_MARKS,
    skin_marks,
    skin_points,
)
from hand_mesh_ros.training.synthetic_veins import VEIN_MARKS, vein_marks  # noqa: E402

SMALL = SyntheticConfig(size_px=64, bank_size=40, skin_detail=1, chunk=8)
PLAIN = replace(SMALL.plain(), box_rotation_deg=0.0, box_shift=0.0, box_scale=(1.5, 1.5))
LABELS = ("vertices_m", "K_crop", "mask", "visibility", "keypoint_visible")
EFFECTS = (
    *("clutter", "hand_colored_background", "tight_image", "harsh_light"),
    *("vignetting", "tone_curve", "chroma_noise", "sharpening"),
    *("nails", "creases", "blush", "veins", "hair", "rings", "watch"),
    "pinched_object",
)


@cache
def engine(config):
    return SyntheticImages(load_open_hand(), config)


def dice(seed=0, n=8):
    return Dice(seed, n, torch.device("cpu"))


def changed(off, on):
    """(N, S, S) bool: pixels that differ."""
    return (off.image != on.image).any(1)


@pytest.mark.parametrize("name", EFFECTS)
def test_a_trace_of_an_effect_leaves_all_other_draws_as_they_are(name):
    # Without what rounds, or clips on the way: there a difference of nothing may grow.
    base = replace(SMALL, jpeg=0.0, color_jitter=0.0, sharpening=0.0)
    off = engine(replace(base, **{name: 0.0})).batch(8, 21)
    trace = engine(replace(base, **{name: 1e-9})).batch(8, 21)
    assert torch.allclose(off.image, trace.image, atol=1e-4)
    assert all(torch.equal(getattr(off, k), getattr(trace, k)) for k in LABELS)
    assert getattr(SMALL, name) > 0
    assert getattr(SMALL.plain(), name) == 0


@pytest.mark.parametrize("name", [e for e in EFFECTS if e not in ("tight_image", "pinched_object")])
def test_labels_do_not_know_of_it(name):
    off = engine(PLAIN).batch(8, 22)
    on = engine(replace(PLAIN, skin_texture=1.0, **{name: 1.0})).batch(8, 22)
    assert all(torch.equal(getattr(off, k), getattr(on, k)) for k in LABELS)
    assert torch.isfinite(on.image).all()
    assert on.image.min() >= 0
    assert on.image.max() <= 1


@pytest.mark.parametrize("name", ["clutter", "hand_colored_background"])
def test_backgrounds_change_behind_the_hand_alone(name):
    off, on = engine(PLAIN).batch(8, 23), engine(replace(PLAIN, **{name: 1.0})).batch(8, 23)
    assert not (changed(off, on) & off.mask).any()
    assert changed(off, on).flatten(1).any(1).sum() >= 6


def test_clutter_has_sharp_edges_on_the_chosen_pictures_alone():
    grey = torch.full((40, 3, 64, 64), 0.5)
    half = add_clutter(grey, 0.5, dice(1, 40))
    touched = (half != grey).flatten(1).any(1)
    assert 10 <= touched.sum() <= 28
    steps = (half[..., 1:] - half[..., :-1]).abs().amax((1, 2, 3))
    assert (steps[touched] > 0.1).float().mean() > 0.9
    assert torch.equal(add_clutter(grey, 0.0, dice(1, 40)), grey)
    assert torch.equal(half, add_clutter(grey, 0.5, dice(1, 40)))


def test_some_backgrounds_come_near_the_hand_in_colour():
    base = replace(PLAIN, skin_texture=1.0)
    off = engine(base).batch(8, 24)
    on = engine(replace(base, hand_colored_background=1.0)).batch(8, 24)

    def apart(batch):
        weight = batch.mask[:, None].float()
        mean = [(batch.image * w).sum((2, 3)) / w.sum((2, 3)) for w in (weight, 1.0 - weight)]
        return (mean[0] - mean[1]).norm(dim=1)

    assert (apart(on) < apart(off) + 0.02).all()
    assert (apart(on) < 0.75 * apart(off)).sum() >= 4


def test_a_tight_image_ends_near_the_hand_and_never_within_it():
    off, on = engine(PLAIN).batch(16, 25), engine(replace(PLAIN, tight_image=1.0)).batch(16, 25)
    assert all(torch.equal(getattr(off, k), getattr(on, k)) for k in LABELS)
    beyond = changed(off, on)
    assert not (beyond & on.mask).any()
    assert (beyond.float().mean((1, 2)) > 0.05).sum() >= 8
    both = {"truncation": 1.0, "tight_image": 1.0}
    cut = engine(replace(PLAIN, truncation=1.0)).batch(16, 25)
    assert torch.equal(engine(replace(PLAIN, **both)).batch(16, 25).mask, cut.mask)


def test_harsh_light_makes_more_contrast_on_hands_and_leaves_the_rest():
    base = replace(PLAIN, lamp_variety=1.0)
    off, on = engine(base).batch(32, 26), engine(replace(base, harsh_light=1.0)).batch(32, 26)
    spread = []
    for batch in (off, on):
        values = [i.mean(0)[m].std() for i, m in zip(batch.image, batch.mask, strict=True)]
        spread.append(torch.stack(values).mean())
    assert spread[1] > 1.05 * spread[0]
    grey = (off.image - 0.5).abs().amax(1) < 1e-6
    assert not (changed(off, on) & grey).any()


def test_the_tone_curve_never_falls_and_differs_from_image_to_image():
    ramp = torch.linspace(0.0, 1.0, 64).expand(16, 3, 64, 64)
    curves = tone_curve(ramp, 1.0, dice(2, 16))
    assert ((curves[..., 1:] - curves[..., :-1]) >= -1e-6).all()
    assert curves.min() >= 0
    assert curves.max() <= 1
    assert curves[:, 1, 0].std(0).max() > 0.03
    assert torch.allclose(tone_curve(ramp, 0.0, dice(2, 16)), ramp, atol=1e-6)


def test_vignettes_darken_and_colour_noise_has_no_light_of_its_own():
    white = torch.ones(16, 3, 64, 64)
    dark = vignette(white, 1.0, dice(3, 16))
    assert dark.max() <= 1
    assert 0.5 < dark.min() < 0.97
    noisy = chroma_noise(0.5 * white, 1.0, dice(3, 16))
    assert torch.allclose(noisy.mean(1), torch.full((16, 64, 64), 0.5), atol=1e-5)
    assert 0.004 < noisy.std() < 0.03


def test_sharpening_keeps_flat_colour_and_makes_halos():
    kernel = torch.zeros(32, 9, 9)
    kernel[:, 4, 4], kernel[:, 4, 3], kernel[:, 4, 5] = 0.6, 0.2, 0.2
    sharp = sharper(kernel, 1.0, dice(4, 32))
    assert torch.allclose(sharp.sum((1, 2)), torch.ones(32), atol=1e-5)
    assert sharp[:, 4, 4].max() > 0.7
    assert sharp.min() < -0.01
    untouched = torch.isclose(sharp, kernel, atol=1e-6).flatten(1).all(1)
    assert 8 <= untouched.sum() <= 24


@pytest.mark.parametrize("width", [1, 3, 9, 17])
def test_box_means_are_those_of_plain_sums(width):
    values = torch.rand(2, 3, 24, 31, generator=torch.Generator().manual_seed(0))
    half = width // 2
    padded = torch.nn.functional.pad(values, [half] * 4)
    expected = padded.unfold(2, width, 1).unfold(3, width, 1).mean((4, 5))
    assert torch.allclose(_box_mean(values, width), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("clutter", 1.5), ("tight_image", -0.1), ("tone_curve", 2.5), ("sharpening", float("nan"))],
)
def test_impossible_settings_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=name) as error:
        replace(SMALL, **{name: value})
    assert str(value) in str(error.value)


# What is in the hand.


def test_pinched_things_fill_the_gap_between_thumb_and_finger():
    model = load_open_hand()
    at_rest = torch.tensor(model.keypoints_at_rest("anatomical")).float()
    keypoints = (at_rest + torch.tensor([0.0, 0.0, 0.5])).expand(64, 21, 3)
    cube = torch.tensor(cube_grid(4)[0]).float()
    things = pinched_objects(cube, keypoints, replace(PLAIN, pinched_object=1.0), dice(5, 64))
    assert (things[..., 2] > 0).all()
    to_thumb = torch.cdist(things, keypoints[:, 3:5].mean(1, keepdim=True)).amin(1)
    assert to_thumb.max() < 0.02
    to_fingers = torch.cdist(things, keypoints[:, [8, 12, 16]]).amin((1, 2))
    assert (to_fingers < 0.02).float().mean() > 0.3  # balls and cups; at rest the gap is wide
    none = pinched_objects(cube, keypoints, PLAIN, dice(5, 64))
    assert (none[..., 2] < 0).all()


def test_a_pinched_thing_hides_and_takes_the_place_of_what_is_held():
    free = engine(PLAIN).batch(16, 28)
    hidden = engine(replace(PLAIN, pinched_object=1.0)).batch(16, 28)
    assert not (hidden.mask & ~free.mask).any()
    assert not (hidden.visibility & ~free.visibility).any()
    assert hidden.mask.sum() < 0.98 * free.mask.sum()
    both = engine(replace(PLAIN, pinched_object=1.0, held_object=1.0)).batch(16, 28)
    assert torch.equal(both.image, hidden.image)


# What is on the skin.


@cache
def rest_points(model_name):
    if model_name == "open hand":
        model = load_open_hand()
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_mano_like(Path(folder) / "MANO_RIGHT.pkl")
            model = load_mano(Path(folder) / "MANO_RIGHT.pkl")
    scene = Scene(model, SMALL)
    return model, scene.forearm, skin_points(model, scene.forearm, scene.parts.skin)


@pytest.mark.parametrize("model_name", ["open hand", "MANO's format"])
def test_marks_lie_where_they_belong(model_name):
    model, forearm, points = rest_points(model_name)
    dorsal = points.normal @ PALM_NORMAL < 0.05
    arm = points.weight.sum(1) < 0.05
    skin = dict(zip(SKIN_MARKS, skin_marks(model, forearm, points).T, strict=True))
    last = points.weight[:, [FINGER_JOINTS[finger][-1] for finger in FINGERS]].sum(1)
    assert (last[skin["nail"] > 0.2] > 0.15).all()
    for name, values in zip(VEIN_MARKS, vein_marks(model, forearm, points).T, strict=True):
        assert np.isfinite(values).all(), name
        assert dorsal[values > 0.1].all(), name
    worn = adornment_marks(model, forearm, points)
    assert worn.min() >= 0
    assert worn.max() <= 1
    for mark, finger in enumerate(FINGERS[1:]):
        on = worn[:, mark] > 0.1
        assert (points.weight[on][:, list(FINGER_JOINTS[finger][:2])].sum(1) > 0.39).all()
    assert arm[(worn[:, -2:] > 0.1).any(1)].all()


def test_open_hand_has_nails_rings_veins_and_watch():
    model, forearm, points = rest_points("open hand")
    palmar = points.normal @ PALM_NORMAL > 0.3
    nail = skin_marks(model, forearm, points)[:, SKIN_MARKS.index("nail")]
    fingers = points.weight[:, [FINGER_JOINTS[f][-1] for f in FINGERS[1:]]].sum(1) > 0.9
    assert ((nail > 0.5) & fingers).sum() > 10
    assert not ((nail > 0.2) & fingers & palmar).any()
    assert ((vein_marks(model, forearm, points) > 0.5).sum(0) > 20).all()
    worn = adornment_marks(model, forearm, points) > 0.5
    assert (worn.sum(0) > 5).all()
    # All around a finger and the arm, and the face of a watch on the back alone.
    up = points.normal @ PALM_NORMAL
    for mark in range(5):
        assert up[worn[:, mark]].min() < -0.7
        assert up[worn[:, mark]].max() > 0.7
    assert up[worn[:, 5]].max() < 0.5


ON_SKIN = ("nails", "creases", "blush", "veins", "hair")


@pytest.mark.parametrize("name", [*ON_SKIN, "rings", "watch"])
def test_what_is_on_the_skin_changes_skin_alone(name):
    none = dict.fromkeys((*ON_SKIN, "rings", "watch"), 0.0)
    base = replace(PLAIN, skin_texture=1.0, **none)
    off, on = engine(base).batch(12, 27), engine(replace(base, **{name: 1.0})).batch(12, 27)
    assert all(torch.equal(getattr(off, k), getattr(on, k)) for k in LABELS)
    difference = (off.image - on.image).abs().amax(1)
    assert difference.max() > 0.01
    background = (off.image - 0.5).abs().amax(1) < 1e-6
    assert not (difference > 1e-6)[background].any()
    if name in ("rings", "nails"):
        share = ((difference > 0.02) & on.mask).sum() / on.mask.sum()
        assert 0.0005 < share < 0.1
        assert not ((difference > 0.02) & ~torch_grown(on.mask)).any()
    if name == "watch":
        assert not ((difference > 0.02) & torch_shrunk(on.mask)).any()


def torch_grown(mask):
    """(N, S, S) bool and a pixel around it."""
    return torch.nn.functional.max_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0] > 0


def torch_shrunk(mask):
    """(N, S, S) bool without its outermost pixel."""
    return ~torch_grown(~mask)
