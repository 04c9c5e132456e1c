"""`hand-mesh evaluate --suite`: groups, occlusion and photographs against what is known of them."""

import json
import sys
import types
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from evaluated_models import BentAway, Shifted

from hand_mesh_ros.assembly import IMAGE_NETWORKS
from hand_mesh_ros.camera import Camera
from hand_mesh_ros.cli.main import main
from hand_mesh_ros.conventions import Side, mirror_points
from hand_mesh_ros.evaluation import models, suite, synthetic_hands
from hand_mesh_ros.evaluation.detections import SharedDetector
from hand_mesh_ros.evaluation.groups import (
    OCCLUSION,
    SIDE,
    SIZE,
    SKIN,
    VIEW,
    answered_by_all,
    figures_of,
    grouped,
    worst_over_best,
)
from hand_mesh_ros.evaluation.photographs import VARIANTS, Photographs, photograph_figures
from hand_mesh_ros.evaluation.runner import evaluate
from hand_mesh_ros.evaluation.skin_tones import TONES, individual_typology_angle_deg, tone_of
from hand_mesh_ros.evaluation.suite import MODELS, on_images
from hand_mesh_ros.evaluation.suite_report import UNFAIR_MARK
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.sources.skin import skin_tone
from hand_mesh_ros.training.datasets.base import DatasetError
from hand_mesh_ros.types import Detection

MODEL = load_open_hand()
GROUPINGS = (SIDE, SIZE, VIEW, SKIN)


class OffByTone(Shifted):
    """The truth but for the middle finger's tip, which is twice as far off on dark skin."""

    on_dark_m = 0.02

    def answer(self, sample):
        keypoints_m = sample.labels.keypoints_m.copy()
        dark = tone_of(sample.skin_ita_deg) == "dark"
        keypoints_m[12, 0] += self.on_dark_m if dark else 0.01
        return replace(super().answer(sample), keypoints_m=keypoints_m)


class Even(OffByTone):
    """As far off on every skin."""

    on_dark_m = 0.01


class BlindToTheDark(OffByTone):
    """As good on all skins that it sees."""

    def answer(self, sample):
        dark = sample.skin_ita_deg is not None and tone_of(sample.skin_ita_deg) == "dark"
        return None if dark else Shifted.answer(self, sample)


class Only:
    """Some of the samples of a set."""

    def __init__(self, samples, indices):
        self._samples, self._indices = samples, indices

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, index):
        return self._samples[self._indices[index]]


KINDS = {
    "shifted": lambda: Shifted("shifted", (0.0, 0.0, 0.03), needs_image=False),
    "off_by_tone": lambda: OffByTone("off_by_tone", needs_image=False),
    "even": lambda: Even("even", needs_image=False),
    "blind": lambda: BlindToTheDark("blind", needs_image=False),
}


@pytest.fixture(autouse=True)
def _known_models(monkeypatch):
    def missing(argument, options):
        raise models.ModelError("it has no weights")

    module = types.ModuleType("models_of_this_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = {kind: lambda a, o, make=make: make() for kind, make in KINDS.items()}
    for kind, build in {**made, "missing": missing}.items():
        setattr(module, kind, build)
        monkeypatch.setitem(models.KINDS, kind, models.Kind(kind, module.__name__, kind))


def shown(samples, *asked, **options):
    """The evaluation of some models."""
    return evaluate(samples, asked, show_progress=False, **options)


# Skin


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_the_typology_angle_is_that_of_lab(amount):
    rgb = skin_tone(amount)
    lab = cv2.cvtColor((rgb / 255.0).astype(np.float32)[None, None], cv2.COLOR_RGB2Lab)[0, 0]
    angle = np.degrees(np.arctan2(lab[0] - 50.0, lab[2]))
    assert individual_typology_angle_deg(rgb) == pytest.approx(angle, abs=0.3)


def test_tones_have_their_borders():
    angles = [56.0, 41.1, 41.0, 28.0, 10.1, 10.0, -29.0, -60.0]
    assert [tone_of(a) for a in angles] == ["light"] * 2 + ["medium"] * 3 + ["dark"] * 3


def test_the_tone_is_the_one_that_is_painted(monkeypatch):
    painted = []

    class Recorded(synthetic_hands.HandLook):
        def __init__(self, model, skin_rgb):
            painted.append(skin_rgb)
            super().__init__(model, skin_rgb)

    monkeypatch.setattr(synthetic_hands, "HandLook", Recorded)
    drawn = SyntheticHands(MODEL, 40, 3)
    samples = [drawn[i] for i in range(40)]
    assert {tone_of(sample.skin_ita_deg) for sample in samples} == set(TONES)
    brightness = {}
    small = [sample for sample in samples if sample.labels.camera.width <= 848]
    by_tone = sorted(small, key=lambda sample: sample.skin_ita_deg)
    for sample in (by_tone[0], by_tone[-1]):
        image = sample.labels.load_image()
        assert individual_typology_angle_deg(painted[-1]) == sample.skin_ita_deg
        x, y = np.round(sample.labels.keypoints_px[[0, 5, 9, 13, 17]]).astype(int).T
        brightness[sample.skin_ita_deg] = np.median(image[y, x])
    assert brightness[by_tone[-1].skin_ita_deg] > brightness[by_tone[0].skin_ita_deg] + 30


# Groups


def test_a_groups_figures_are_those_of_its_hands_alone():
    samples = SyntheticHands(MODEL, 40, 1234)
    evaluation = shown(samples, OffByTone(needs_image=False), groupings=GROUPINGS)
    (result,) = evaluation.results
    for grouping in GROUPINGS:
        members = evaluation.groups[grouping.name]
        assert sorted(i for group in members.values() for i in group) == list(range(40))
        for name, figures in grouped(result, members).items():
            alone = Only(samples, members[name])
            assert figures.hands == figures.summary.samples == len(alone) > 0
            (own,) = shown(alone, OffByTone(needs_image=False)).results
            for metric in ("pa_mpjpe_mm", "mpjpe_mm", "pa_mpvpe_mm", "f_at_5mm"):
                expected = getattr(own.summary, metric)
                assert getattr(figures.summary, metric) == pytest.approx(expected, abs=1e-9)


def test_groups_are_what_their_names_say():
    samples = SyntheticHands(MODEL, 40, 1234)
    evaluation = shown(samples, Shifted(needs_image=False), groupings=GROUPINGS)
    side, size, view, skin = (evaluation.groups[grouping.name] for grouping in GROUPINGS)
    assert all(samples[i].labels.side is Side.LEFT for i in side["left"])
    assert all(samples[i].labels.side is Side.RIGHT for i in side["right"])
    small, middle, large = (
        [np.ptp(samples[i].labels.keypoints_px, axis=0).max() for i in members]
        for members in size.values()
    )
    assert max(small) < 80.0 <= min(middle)
    assert max(middle) < 160.0 <= min(large)
    assert all(samples[i].skin_ita_deg <= 10.0 for i in skin["dark"])
    assert all(samples[i].skin_ita_deg > 41.0 for i in skin["light"])

    def palm_towards_camera(i):  # cosine
        points = samples[i].labels.keypoints_m
        if samples[i].labels.side is Side.LEFT:
            points = mirror_points(points)
        wrist, index, little = points[0], points[5], points[17]
        normal, toward = np.cross(index - wrist, little - wrist), -(wrist + index + little)
        return normal @ toward / np.linalg.norm(normal) / np.linalg.norm(toward)

    assert min(palm_towards_camera(i) for i in view["palm"]) > 0.5
    assert max(palm_towards_camera(i) for i in view["back"]) < -0.5
    assert max(abs(palm_towards_camera(i)) for i in view["edge"]) <= 0.5


def test_the_worst_group_is_compared_with_the_best():
    samples = SyntheticHands(MODEL, 30, 1234)
    asked = [kind(needs_image=False) for kind in (OffByTone, BlindToTheDark)]
    evaluation = shown(samples, *asked, groupings=[SKIN])
    off, blind = (grouped(result, evaluation.groups["skin"]) for result in evaluation.results)
    assert 1.6 < worst_over_best(off) < 2.4  # Procrustes shares the error out
    assert worst_over_best({name: off[name] for name in ("light", "medium")}) < 1.25
    assert worst_over_best({"light": off["light"]}) is None
    assert blind["dark"].hands > 0
    assert blind["dark"].answered_share == 0.0
    assert blind["dark"].summary.pa_mpjpe_mm is None
    assert worst_over_best(blind) == np.inf


def test_hands_that_all_answered():
    samples = SyntheticHands(MODEL, 24, 1234)
    asked = [BentAway("all", needs_image=False), Shifted("half", miss=2, needs_image=False)]
    every, half = shown(samples, *asked).results
    common = answered_by_all([every, half])
    assert common == half.indices.tolist() == list(range(0, 24, 2))
    (nothing,) = shown(Only(samples, [0]), Shifted(miss=1, needs_image=False)).results
    assert answered_by_all([every, half, nothing]) == common  # else nobody had a figure
    bent = figures_of(every, common).summary.pa_mpjpe_mm
    assert bent == pytest.approx(every.errors.pa_mpjpe_mm[::2].mean())
    assert bent != pytest.approx(every.summary.pa_mpjpe_mm)


def test_a_known_length_mends_the_distance():
    class TooLarge(Shifted):
        def answer(self, sample):
            good = super().answer(sample)
            return replace(good, keypoints_m=1.1 * good.keypoints_m)

    samples = SyntheticHands(MODEL, 10, 1234)
    larger = TooLarge(needs_image=False)
    farther = Shifted(shift_m=(0.0, 0.0, 0.03), needs_image=False)
    larger, farther = (result.summary for result in shown(samples, larger, farther).results)
    assert larger.root_error_share == pytest.approx(0.1)
    assert larger.root_error_known_length_mm == pytest.approx(0.0, abs=1e-6)
    assert farther.root_error_known_length_mm == pytest.approx(30.0)


def test_the_length_that_models_are_told_gives_the_same_place():
    samples = SyntheticHands(MODEL, 6, 1234)
    plain, told = (
        models.build_model("lifter", models.ModelOptions(known_hand_length=known))
        for known in (False, True)
    )
    plain, told = (result.summary for result in shown(samples, plain, told).results)
    assert told.root_error_mm == pytest.approx(plain.root_error_known_length_mm, rel=1e-6)
    assert told.root_error_mm < plain.root_error_mm


# Occlusion


@pytest.fixture(scope="module")
def occluded():
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from hand_mesh_ros.evaluation import occluded_hands

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(occluded_hands, "_BANK_SIZE", 64)  # seconds less
        yield occluded_hands.OccludedHands(MODEL, 32, 7)


def test_occlusion_levels_are_shares_of_keypoints_that_things_hide(occluded):
    levels = {name: [] for name in OCCLUSION.groups}
    for i in range(32):
        levels[OCCLUSION.group_of(occluded[i])].append(occluded[i])
    assert all(len(hands) >= 3 for hands in levels.values())
    assert all(hand.hidden_share == 0.0 for hand in levels["none"])
    assert all(0.0 < hand.hidden_share <= 0.25 for hand in levels["some"])
    assert all(hand.hidden_share > 0.25 for hand in levels["heavy"])
    # What is left to see is less; what the hand itself hides comes on top.
    for hand in (hand for hands in levels.values() for hand in hands):
        assert hand.labels.keypoints_visible.mean() <= 1.0 - hand.hidden_share
    none, heavy = (
        np.mean([hand.labels.keypoints_visible.mean() for hand in levels[name]])
        for name in ("none", "heavy")
    )
    assert none > heavy + 0.1


def test_things_hide_the_keypoints_that_are_counted(occluded):
    """The same hands with and without things: pixels change where keypoints are lost."""
    hidden, kept = [], []
    for start in range(0, 32, 8):
        chunk = occluded.chunk(start // 8)
        change = (chunk.batch.image - chunk.bare.image).abs().amax(1).numpy()
        for row in range(8):
            x, y = chunk.batch.keypoints_px["anatomical"][row].round().long().clamp(0, 255).T
            shows = chunk.bare.keypoint_visible[row].numpy()
            lost = shows & ~chunk.batch.keypoint_visible[row].numpy()
            assert occluded[start + row].hidden_share == pytest.approx(lost.sum() / shows.sum())
            hidden += change[row, y, x][lost].tolist()
            kept += change[row, y, x][shows & ~lost].tolist()
    assert np.median(hidden) > 0.15
    assert np.median(kept) < 0.05


def test_occluded_hands_are_reproducible_and_of_both_sides(occluded):
    from hand_mesh_ros.evaluation.occluded_hands import OccludedHands

    first = [occluded[i] for i in (3, 4)]
    occluded[20]
    again = OccludedHands(MODEL, 5, 7)
    for i, sample in zip((3, 4), first, strict=True):
        labels, other = sample.labels, again[i].labels
        np.testing.assert_array_equal(labels.load_image(), other.load_image())
        np.testing.assert_array_equal(labels.vertices_m, other.vertices_m)
        assert ((labels.keypoints_px > 0) & (labels.keypoints_px < 255)).all()
        # The mesh of a left hand is inside out under the faces of a right one.
        assert labels.side is (Side.LEFT if i % 2 else Side.RIGHT)
        assert np.sign(volume(labels.vertices_m)) == (-1.0 if i % 2 else 1.0)
    for n, seed in ((0, 1), (5, -1)):
        with pytest.raises(ValueError, match="occluded hands"):
            OccludedHands(MODEL, n, seed)


def volume(vertices_m):
    a, b, c = (vertices_m[MODEL.faces[:, k]] - vertices_m.mean(0) for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6.0)


# Photographs


class Finds:
    """A detector that knows where the one hand is."""

    def __init__(self, keypoints_px):
        self._keypoints_px = keypoints_px

    def detect(self, image, stamp_ns):
        points = self._keypoints_px
        box = np.concatenate([points.min(0), points.max(0)])
        return [Detection(Side.RIGHT, 1.0, 1.0, points, None, box)]

    def reset(self):
        pass

    def close(self):
        pass


@pytest.fixture
def photographs(tmp_path):
    """Two pictures, black but for a dot at two landmarks, and the camera of one of them."""
    points = np.random.default_rng(0).uniform([90.0, 60.0], [230.0, 180.0], (21, 2)).round()
    points[0], points[20] = (100.0, 70.0), (220.0, 170.0)
    image = np.zeros((240, 320, 3), np.uint8)
    for x, y in points[[0, 20]].astype(int).tolist():
        cv2.circle(image, (x, y), 4, (255, 255, 255), -1)
    for name in ("a_img.png", "b_img.png"):
        cv2.imwrite(str(tmp_path / name), image)
    K = Camera.from_fov(320, 240, 50.0).K.copy()
    K[1, 1] *= 1.02  # neither square nor centred
    K[:2, 2] += [12.0, -9.0]
    np.save(tmp_path / "a_K.npy", K)
    return Photographs(tmp_path, Finds(points)), points, K


def test_landmarks_stay_on_the_hand_in_every_variant(photographs):
    samples, points, K = photographs
    views = 1 + len(VARIANTS)
    assert (samples.hands, len(samples)) == (2, 2 * views)
    np.testing.assert_array_equal(samples[0].labels.camera.K, K)
    assert samples[views].labels.camera.assumed
    np.testing.assert_allclose(samples[0].labels.keypoints_px, points, atol=1e-9)
    for index in range(2 * views):
        labels = samples[index].labels
        image = labels.load_image()
        assert image.shape == (labels.camera.height, labels.camera.width, 3)
        bright = (image[..., 0] > 60).astype(np.uint8)
        count, _, _, centres = cv2.connectedComponentsWithStats(bright)
        assert count == 3  # the black one too
        for dot in labels.keypoints_px[[0, 20]]:
            assert np.linalg.norm(centres[1:] - dot, axis=1).min() < 0.5
    widths = [samples[i].labels.camera.width for i in range(views)]
    assert widths[0] == widths[4] == 320
    assert min(widths[1:3]) > 320  # turned ones lose no corner
    assert widths[3] == 256
    assert samples[4].labels.load_image().max() == 153


class Seen(Shifted):
    """One hand before every camera, and a mirrored one where it is dark."""

    def answer(self, sample):
        labels = sample.labels
        hand = np.random.default_rng(1).normal([0.0, 0.0, 0.5], 0.03, (21, 3))
        dark = "brightness" in labels.sample_id
        larger_side_px = np.ptp(labels.keypoints_px, axis=0).max()
        return models.Prediction(
            Side.LEFT if dark else Side.RIGHT,
            1.3 * mirror_points(hand) if dark else hand,
            labels.keypoints_px + np.array([0.1 * larger_side_px, 0.0]),
            True,
        )


def test_photographs_measure_offset_and_disagreement(photographs):
    samples, _, _ = photographs
    (result,) = shown(samples, Seen()).results
    figures = photograph_figures(result, samples.hands)
    assert (figures.hands, figures.found) == (2, 2)
    assert figures.variants == figures.variants_found == 8
    assert figures.variants_other_side == 2
    assert figures.offset_share["median"] == pytest.approx(0.1, abs=1e-6)
    assert figures.disagreement_mm["median"] == pytest.approx(0.0, abs=1e-9)
    assert figures.disagreement_mm["p90"] > 10.0
    (result,) = shown(samples, Shifted(miss=1)).results
    nothing = photograph_figures(result, samples.hands)
    assert (nothing.found, nothing.variants_found, nothing.offset_share) == (0, 0, None)


def test_photographs_without_a_hand_are_told(tmp_path):
    class FindsNothing(Finds):
        def detect(self, image, stamp_ns):
            return []

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="finds no hand in 1 images"):
        Photographs(tmp_path, FindsNothing(None))


# The command


def command(*arguments, report=None):
    """Exit code, and the report where one is asked for."""
    options = [] if report is None else ["--report", str(report)]
    code = main(["evaluate", *map(str, arguments), *options])
    return code if report is None else (code, json.loads(report.read_text()))


def named(*specs):
    return [word for spec in specs for word in ("--model", spec)]


@pytest.fixture
def few_poses(monkeypatch):
    occluded_hands = pytest.importorskip("hand_mesh_ros.evaluation.occluded_hands")
    monkeypatch.setattr(occluded_hands, "_BANK_SIZE", 64)


@pytest.mark.usefixtures("few_poses")
def test_the_suite_has_all_models_in_one_table(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), np.full((240, 320, 3), 90, np.uint8))
    points = np.random.default_rng(0).uniform(60.0, 160.0, (21, 2))
    points[:2] = [[60.0, 60.0], [160.0, 160.0]]
    monkeypatch.setattr(SharedDetector, "open", lambda self: Finds(points))
    fit = "landmarks:landmark_fit"
    code, report = command(
        *("--suite", "release", "--samples", 16, "--photographs", folder),
        *named("shifted", "blind", fit, "missing"),
        report=tmp_path / "r.json",
    )
    assert code == 0
    assert (report["suite"], report["seed"], report["samples"]) == ("release", 1234, 16)
    assert set(report["models"]) == {"shifted", "blind", fit, "missing"}
    shifted, blind = report["models"]["shifted"], report["models"]["blind"]
    assert shifted["root_error_mm"] == pytest.approx(30.0)
    assert shifted["samples"] == 16
    assert blind["samples"] + blind["missed"] == 16
    skin = blind["by"]["skin"]
    assert (skin["worst_over_best"], skin["alike"]) == (None, False)
    assert skin["groups"]["dark"]["hands"] == skin["groups"]["dark"]["missed"] == blind["missed"]
    assert report["models"][fit]["common_pa_mpjpe_mm"] != report["models"][fit]["pa_mpjpe_mm"]
    assert report["parts"]["synthetic"]["common_hands"] == blind["samples"]
    levels = shifted["occlusion"]["by"]["occlusion"]["groups"]
    assert sum(group["hands"] for group in levels.values()) == 16
    assert "occlusion" not in report["models"][fit]
    assert shifted["photographs"]["hands"] == 2
    # That model is sqrt(2) px off, in a box of 100 px.
    assert shifted["photographs"]["offset_share"]["median"] == pytest.approx(2**0.5 / 100)
    assert report["models"]["missing"] == {"model": "missing"}
    assert report["parts"]["synthetic"]["left_out"] == {"missing": "it has no weights"}

    said = capsys.readouterr().out
    lines = said.splitlines()
    assert any(line.startswith("| shifted | anatomical | 16 | 0 | 0 |") for line in lines)
    assert f"a group without answer{UNFAIR_MARK}" in said
    assert "- missing not in synthetic, occlusion, photographs: it has no weights" in lines
    assert "2 of 2 photographs show 2 hands" in said
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_a_model_that_is_worse_for_one_tone_is_marked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suite, "SUITES", {"release": ("synthetic",)})
    code, report = command(
        *("--suite", "release", "--samples", 30, *named("off_by_tone", "even")),
        report=tmp_path / "r.json",
    )
    assert code == 0
    assert report["models"]["even"]["by"]["skin"]["alike"]
    skin = report["models"]["off_by_tone"]["by"]["skin"]
    assert skin["worst_over_best"] > report["parts"]["synthetic"]["most_worst_over_best"] == 1.25
    assert not skin["alike"]
    errors = [group["pa_mpjpe_mm"] for group in skin["groups"].values()]
    assert skin["worst_over_best"] == pytest.approx(max(errors) / min(errors))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if UNFAIR_MARK in line)
    assert row.startswith("| off_by_tone ")
    assert f"{skin['worst_over_best']:.2f}{UNFAIR_MARK} |" in row


@pytest.mark.usefixtures("few_poses")
def test_without_photographs_that_part_is_skipped_in_a_line(capsys):
    assert command("--suite", "release", "--samples", 8, *named("shifted")) == 0
    said = capsys.readouterr().out
    assert "Skipped: no --photographs DIR was given.\n" in said
    assert said.count("Skipped") == 1


@pytest.mark.usefixtures("few_poses")
def test_a_suite_of_nothing_fails(tmp_path):
    code, report = command(
        *("--suite", "release", "--samples", 2, *named("missing")), report=tmp_path / "r.json"
    )
    assert code == 1
    assert report["parts"]["synthetic"]["skipped"] == "no model could be built"


def test_models_of_the_package_on_images():
    assert {"landmarks:lifter", "pipeline:lifter", *IMAGE_NETWORKS, "mediapipe"} == set(MODELS)
    assert on_images("landmarks:lifter") is on_images("lifter") is None
    assert on_images("pipeline:lifter") == "pipeline:lifter"
    assert on_images("mediapipe") == "mediapipe"
    assert {on_images(name) for name in IMAGE_NETWORKS} == {f"pipeline:{n}" for n in IMAGE_NETWORKS}
    assert on_images("m3dhmr:/x/y.safetensors") == "pipeline:m3dhmr:/x/y.safetensors"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--suite", "grand"], "--suite 'grand' is unknown; expected release"),
        (["--suite", "release", "--dataset", "synthetic"], "leave --dataset out"),
        (["--suite", "release", "--keypoints", "detector"], "leave --keypoints out"),
        (["--suite", "release", "--plots", "p"], "leave --plots out"),
        (["--suite", "release", "--model", "magic"], "model 'magic' is unknown; expected one of"),
        (["--suite", "release", "--photographs", "none"], "--photographs none: no such folder"),
        (["--suite", "release", "--photographs", "empty"], "--photographs: "),
        (["--suite", "release", "--samples", "0"], "--samples is 0"),
        (["--photographs", "empty"], "--photographs belongs to --suite"),
    ],
)
def test_wrong_calls_are_told_in_one_line(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert command(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert said.startswith("hand-mesh evaluate: ")
    assert "\n" not in said
