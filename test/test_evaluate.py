"""`hand-mesh evaluate` with models whose errors are known, on tiny data sets and rendered hands."""

import json
import sys
import types
from dataclasses import replace

import cv2
import numpy as np
import pytest
from evaluated_models import BentAway, Deviating, OtherHand, Shifted
from tiny_datasets import make_coco, make_freihand, make_hint, make_ho3d

from hand_mesh_ros.cli.main import main
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.evaluation import models
from hand_mesh_ros.evaluation.benchmarks import benchmark_of, server_of
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, build_model
from hand_mesh_ros.evaluation.runner import evaluate
from hand_mesh_ros.evaluation.samples import DatasetSamples
from hand_mesh_ros.evaluation.submission_file import write_submission_of
from hand_mesh_ros.evaluation.submissions import FREIHAND, HO3D_V3, read_submission
from hand_mesh_ros.evaluation.summary import METRIC_NAMES
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands
from hand_mesh_ros.evaluation.worst_cases import PANEL_PX, draw_case, worst
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.training.datasets import FreiHand, NoHandError, open_dataset

KINDS = {
    "shifted": lambda: Shifted("shifted", (0.0, 0.0, 0.03), needs_image=False),
    "shifted_in_images": lambda: Shifted("shifted_in_images", (0.0, 0.0, 0.03)),
    "half": lambda: Shifted("half", miss=2, needs_image=False),
    "none": lambda: Shifted("none", miss=1, needs_image=False),
    "deviating": lambda: Deviating("deviating"),
    "bent": lambda: BentAway("bent"),
}


@pytest.fixture(autouse=True)
def _known_models(monkeypatch):
    module = types.ModuleType("models_of_this_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for kind, make in KINDS.items():
        setattr(module, kind, lambda argument, options, make=make: make())
        monkeypatch.setitem(models.KINDS, kind, models.Kind(kind, module.__name__, kind))


@pytest.fixture(scope="module")
def freihand(tmp_path_factory):
    root = tmp_path_factory.mktemp("freihand")
    make_freihand(root, frames=4)
    return root


def command(*arguments, report=None):
    """Exit code, and the report where one is asked for."""
    options = [] if report is None else ["--report", str(report)]
    code = main(["evaluate", *map(str, arguments), *options])
    return code if report is None else (code, json.loads(report.read_text()))


def picture(path):
    image = cv2.imread(str(path))
    assert image is not None
    assert image.std() > 5.0
    return image[:, :, ::-1]


def test_one_models_figures_are_plain_numbers_at_the_top(freihand, tmp_path, capsys):
    spec = f"freihand:{freihand}?split=evaluation"
    code, report = command("--model", "shifted", "--dataset", spec, report=tmp_path / "r.json")
    assert code == 0
    assert (report["model"], report["dataset"], report["samples"]) == ("shifted", spec, 4)
    assert report["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-6)
    assert report["pa_mpvpe_mm"] == pytest.approx(0.0, abs=1e-6)
    assert report["root_error_mm"] == pytest.approx(30.0)
    assert report["cs_mpvpe_mm"] == pytest.approx(30.0)
    assert 0.03 < report["root_error_share"] < 0.07
    assert (report["f_at_5mm"], report["f_at_15mm"]) == (1.0, 1.0)
    assert report["auc"] > 0.99
    assert set(METRIC_NAMES) <= set(report)
    assert report["distributions"]["root_error_mm"]["p90"] == pytest.approx(30.0)
    assert (report["missed"], report["wrong_side"], report["corrupt_images"]) == (0, 0, 0)
    assert report["keypoint_convention"] == report["true_keypoint_convention"] == "anatomical"
    assert report["calibration"] is None
    said = capsys.readouterr().out
    assert "| shifted | anatomical | 4 | 0 | 0 | 0.00 | 0.00 |" in said
    # Beside the papers' figures, at the right place: nobody is better.
    rows = report["published"]["rows"]
    assert rows[0]["own"]
    assert {"HaMeR", "M3DHMR, ResNet-34"} <= {row["method"] for row in rows}
    assert "**shifted**" in said


def test_several_models_are_beside_each_other(freihand, tmp_path):
    spec = f"freihand:{freihand}?split=training&background=gs"
    code, report = command(
        "--model", "shifted", "--model", "half", "--dataset", spec, report=tmp_path / "r.json"
    )
    assert code == 0
    assert "pa_mpjpe_mm" not in report
    assert set(report["models"]) == {"shifted", "half"}
    half = report["models"]["half"]
    assert (half["samples"], half["missed"]) == (2, 2)
    assert half["root_error_mm"] == pytest.approx(0.0)
    assert half["published"] is None  # papers report on the evaluation split
    assert report["hands"] == 4


def test_damaged_images_are_named_and_the_rest_goes_on(tmp_path, capsys):
    make_freihand(tmp_path, frames=4)
    damaged = tmp_path / "evaluation" / "rgb" / "00000002.jpg"
    damaged.write_bytes(b"no image")
    spec = f"freihand:{tmp_path}?split=evaluation"
    code, report = command(
        "--model", "shifted_in_images", "--dataset", spec, report=tmp_path / "r.json"
    )
    assert code == 1
    assert (report["samples"], report["corrupt_images"], report["missed"]) == (3, 1, 0)
    assert str(damaged) in report["corrupt_image_errors"][0]
    said = capsys.readouterr().err
    assert str(damaged) in said
    assert "1 damaged images were left out, 3 hands were evaluated" in said
    # Who needs no image does not notice.
    assert command("--model", "shifted", "--dataset", spec) == 0


def test_a_subset_is_random_and_the_same_for_the_same_seed(tmp_path):
    make_freihand(tmp_path, frames=12)
    samples = DatasetSamples(open_dataset(f"freihand:{tmp_path}?split=evaluation"))

    def shown(seed):
        model = Shifted()
        evaluate(samples, [model], limit=5, seed=seed, show_progress=False)
        return [seen.sample.labels.sample_id for seen in model.shown]

    assert shown(1) == shown(1)
    assert len(set(shown(1))) == 5
    assert shown(1) != shown(2)


def test_the_other_hand_is_counted_and_not_averaged(freihand):
    samples = DatasetSamples(open_dataset(f"freihand:{freihand}?split=evaluation"))
    (result,) = evaluate(samples, [OtherHand()], show_progress=False).results
    assert (result.wrong_side, result.summary.missed, result.summary.samples) == (4, 0, 0)
    assert result.errors is None


def test_answers_that_are_not_finite_are_missed_hands(freihand):
    class Nothing(Shifted):
        def answer(self, sample):
            good = super().answer(sample)
            return replace(good, vertices_m=np.full_like(good.vertices_m, np.nan))

    samples = DatasetSamples(open_dataset(f"freihand:{freihand}?split=evaluation"))
    (result,) = evaluate(samples, [Nothing()], show_progress=False).results
    assert (result.summary.missed, result.summary.samples) == (4, 0)


def test_a_set_without_a_hand_is_told(tmp_path, capsys, monkeypatch):
    make_freihand(tmp_path, frames=2)

    def no_hand(self, index):
        raise NoHandError("no hand in this frame")

    monkeypatch.setattr(FreiHand, "_sample", no_hand)
    assert command("--model", "shifted", "--dataset", f"freihand:{tmp_path}") == 2
    assert "shows no labelled hand" in capsys.readouterr().err


def test_a_model_that_finds_nothing_fails(freihand, tmp_path, capsys):
    spec = f"freihand:{freihand}?split=evaluation"
    code, report = command("--model", "none", "--dataset", spec, report=tmp_path / "r.json")
    assert code == 1
    assert (report["samples"], report["missed"], report["pa_mpjpe_mm"]) == (0, 4, None)
    assert "none found none of 4 hands" in capsys.readouterr().err


def test_deviations_are_calibrated_about_the_centre(freihand, tmp_path, capsys):
    code, report = command(
        *("--model", "deviating", "--dataset", f"freihand:{freihand}?split=evaluation"),
        *("--plots", tmp_path / "plots"),
        report=tmp_path / "r.json",
    )
    assert code == 0
    calibration = report["calibration"]
    assert calibration["samples"] == 4 * 21
    assert calibration["rank_correlation"] > 0.6
    assert calibration["within_one_stddev"] == pytest.approx(0.68, abs=0.12)
    assert "within 1 deviation" in capsys.readouterr().out
    picture(tmp_path / "plots" / "deviating" / "calibration.png")


def test_2d_labels_give_pck(tmp_path, capsys):
    make_hint(tmp_path)
    code, report = command(
        *("--model", "shifted", "--dataset", f"hint:{tmp_path}", "--plots", tmp_path / "plots"),
        report=tmp_path / "r.json",
    )
    assert code == 0
    # Each keypoint is sqrt(2) px off, and boxes are 40 px: 0.035 of them.
    assert (report["pck_all"], report["pck_visible"], report["pck_occluded"]) == (1.0, 1.0, 1.0)
    assert (report["samples"], report["pa_mpjpe_mm"]) == (2, None)
    assert report["published"]["rows"][0]["own"]
    assert "PCK@0.05 visible" in capsys.readouterr().out
    picture(tmp_path / "plots" / "shifted" / "worst_cases.png")
    assert not (tmp_path / "plots" / "pck.png").exists()


def test_pck_counts_labelled_keypoints_in_shares_of_the_box(tmp_path):
    make_coco(tmp_path)

    class Off(Shifted):
        def answer(self, sample):
            good = super().answer(sample)
            points = good.keypoints_px.copy()
            points[1:5] += 20.0  # the thumb, 4 of 21
            return replace(good, keypoints_px=points)

    samples = DatasetSamples(open_dataset(f"coco_wholebody:{tmp_path}?split=val"))
    (result,) = evaluate(samples, [Off()], show_progress=False).results
    # Boxes of 30 px, so 1.5 px may be missed: all others are 1.41 px off.
    assert result.pck.pck_all == pytest.approx(17 / 21)
    assert result.pck.pck_visible is None  # COCO does not say


def test_plots_of_the_worst_hands(freihand, tmp_path):
    spec = f"freihand:{freihand}?split=evaluation"
    assert (
        command("--model", "bent", "--model", "shifted", "--dataset", spec, "--plots", tmp_path)
        == 0
    )
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")} == {
        "pck.png",
        *(
            f"{model}/{name}.png"
            for model in ("bent", "shifted")
            for name in ("error_by_joint", "error_by_view", "worst_cases")
        ),
    }
    for path in tmp_path.rglob("*.png"):
        picture(path)


def test_a_case_shows_truth_and_prediction_in_the_image_and_from_the_side(freihand):
    samples = DatasetSamples(open_dataset(f"freihand:{freihand}?split=evaluation"))
    (result,) = evaluate(samples, [BentAway()], show_progress=False).results
    order = [case.index for case in worst(result.cases, 3)]
    assert order == [3, 2, 1]  # each hand is worse than the one before
    case = worst(result.cases, 1)[0]
    drawn = draw_case(case, samples[case.index], "anatomical")
    assert drawn.shape == (PANEL_PX, 2 * PANEL_PX, 3)

    def pixels(panel, rgb):
        return (np.abs(panel.astype(int) - rgb).max(-1) < 12).sum()

    for panel in (drawn[:, :PANEL_PX], drawn[20:, PANEL_PX:]):
        assert pixels(panel, (213, 94, 0)) > 20  # the thumb
        assert pixels(panel, (204, 121, 167)) > 20  # the little finger

    # Where both agree, no white is left; 60 mm along the line of sight show from the side alone.
    class Deeper(Shifted):
        def answer(self, sample):
            keypoints_m = sample.labels.keypoints_m.copy()
            keypoints_m[5:9] *= 1.0 + 0.06 / keypoints_m[5:9, 2:]
            return replace(super().answer(sample), keypoints_m=keypoints_m)

    class Sideways(Shifted):
        def answer(self, sample):
            keypoints_m = sample.labels.keypoints_m.copy()
            keypoints_m[5:9, 0] += 0.06
            return replace(super().answer(sample), keypoints_m=keypoints_m)

    white = []
    for model in (Shifted(), Deeper(), Sideways()):
        (result,) = evaluate(samples, [model], limit=1, show_progress=False).results
        drawn = draw_case(result.cases[0], samples[result.cases[0].index], "anatomical")
        white.append(
            [
                pixels(panel, (255, 255, 255))
                for panel in (drawn[:, :PANEL_PX], drawn[20:, PANEL_PX:])
            ]
        )
    assert abs(white[1][0] - white[0][0]) < 10
    assert white[1][1] > white[0][1] + 50
    assert abs(white[2][1] - white[0][1]) < 10


def test_submission_has_every_image_and_tells_what_was_missed(tmp_path):
    make_freihand(tmp_path, frames=6)
    samples = DatasetSamples(open_dataset(f"freihand:{tmp_path}?split=evaluation"))
    layout = replace(FREIHAND, num_samples=6)
    (result,) = evaluate(samples, [Shifted(miss=3)], keep_meshes=True, show_progress=False).results
    path = tmp_path / "pred.zip"
    assert write_submission_of(path, layout, result) == 2
    keypoints_m, vertices_m = read_submission(path, layout)
    for i in (0, 1, 3, 4):
        np.testing.assert_allclose(keypoints_m[i], samples[i].labels.keypoints_m, atol=1e-6)
        np.testing.assert_allclose(vertices_m[i], samples[i].labels.vertices_m, atol=1e-6)
    # The mean of the others: a hand, in front of the camera.
    np.testing.assert_allclose(keypoints_m[2], keypoints_m[5])
    np.testing.assert_allclose(keypoints_m[2, 0], [0.0, 0.0, 0.6], atol=1e-6)
    assert 0.0 < np.linalg.norm(keypoints_m[2] - keypoints_m[2, 0], axis=1).max() < 0.3


def test_submission_wants_mano(freihand, tmp_path):
    class OpenHand(Shifted):
        def answer(self, sample):
            return replace(super().answer(sample), hand_model="open_hand")

    samples = DatasetSamples(open_dataset(f"freihand:{freihand}?split=evaluation"))
    (result,) = evaluate(samples, [OpenHand()], keep_meshes=True, show_progress=False).results
    with pytest.raises(ValueError, match=r"open_hand meshes.*vertices of MANO"):
        write_submission_of(tmp_path / "p.zip", replace(FREIHAND, num_samples=4), result)


def test_benchmarks_are_known_by_their_evaluation_split(freihand, tmp_path):
    make_ho3d(tmp_path / "v3", version="v3")
    make_hint(tmp_path)
    for spec, name in (
        (f"freihand:{freihand}?split=evaluation", "freihand"),
        (f"freihand:{freihand}", None),
        (f"ho3d:{tmp_path}/v3?split=evaluation", "ho3d_v3"),
        (f"ho3d:{tmp_path}/v3?split=train", None),
        (f"hint:{tmp_path}?subset=newdays_img", "hint_newdays"),
    ):
        assert benchmark_of(spec, open_dataset(spec)) == name
    assert server_of("ho3d_v3") is HO3D_V3
    assert server_of("hint_newdays") is server_of(None) is None


def test_ho3d_is_measured_and_stays_a_right_hand(tmp_path):
    make_ho3d(tmp_path, version="v2")
    code, report = command(
        *("--model", "shifted", "--dataset", f"ho3d:{tmp_path}?split=evaluation"),
        report=tmp_path / "r.json",
    )
    assert (code, report["samples"], report["wrong_side"]) == (0, 2, 0)
    assert report["root_error_mm"] == pytest.approx(30.0)
    assert report["published"]["dataset"] == "ho3d_v2"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "magic"], "expected one of pipeline:NAME[:CHECKPOINT], landmarks:NAME"),
        (["--model", "landmarks:lifter:/no/such.safetensors"], "/no/such.safetensors"),
        (["--model", "pipeline:magic"], 'got "magic", expected one of "'),
        (["--model", "pipeline:"], "no name after the colon"),
        (["--model", "mediapipe:fast"], "mediapipe takes no argument"),
        (["--mano", "/no/mano"], "no MANO_RIGHT.pkl"),
        (
            ["--dataset", "magic"],
            "expected synthetic, detected, or NAME:FOLDER with one of these names: coco",
        ),
        (["--dataset", "freihand:/no/data"], "/no/data"),
        (["--samples", "0"], "--samples is 0"),
        (["--seed", "-3"], "--seed is -3"),
        (["--report", "/no/such/folder/r.json"], "--report /no/such/folder/r.json: No such"),
        (["--submission", "/no/such/p.zip"], "--submission /no/such/p.zip: No such"),
        (["--submission", "p.zip", "--samples", "3"], "whole data set"),
        (["--submission", "p.zip", "--model", "shifted"], "synthetic has no server"),
    ],
)
def test_wrong_calls_are_told_in_one_line(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert said.startswith("hand-mesh evaluate: ")
    assert "\n" not in said


def test_sets_that_cannot_be_used_are_told_in_one_line(freihand, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    evaluation = f"freihand:{freihand}?split=evaluation"
    for arguments, says in (
        (["--model", "half", "--dataset", f"image_folder:{tmp_path}"], "no keypoints to compare"),
        (["--model", "landmarks:landmark_fit", "--dataset", evaluation], "dataset synthetic"),
        (
            ["--model", "shifted", "--dataset", evaluation, "--submission", tmp_path / "p.zip"],
            "has 4 images, FreiHAND's server expects 3960",
        ),
    ):
        assert command(*arguments) == 2
        said = capsys.readouterr().err.strip()
        assert says in said
        assert "\n" not in said


def test_a_missing_library_is_told_with_its_install_line(monkeypatch):
    kind = models.Kind("network:FILE", "no_such_library_at_all", "build")
    monkeypatch.setitem(models.KINDS, "network", kind)
    with pytest.raises(ModelError, match=r"no_such_library.*pip install hand_mesh_ros\[train\]"):
        build_model("network:x", ModelOptions())


def test_left_hands_keep_their_side():
    samples = SyntheticHands(load_open_hand(), 12, 2)
    model = Shifted(needs_image=False)
    (result,) = evaluate(samples, [model], show_progress=False).results
    sides = {seen.sample.labels.side for seen in model.shown}
    assert sides == {Side.LEFT, Side.RIGHT}
    assert result.wrong_side == 0
    assert result.summary.cs_mpvpe_mm == pytest.approx(0.0)
    assert all(seen.image is None for seen in model.shown)
