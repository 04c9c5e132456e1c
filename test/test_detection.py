"""Hand detection: its policy on a scripted engine, its geometry and sides on rendered hands."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.detection import mediapipe_hands
from hand_mesh_ros.detection.duplicates import drop_duplicates, hand_size_px, is_same_hand
from hand_mesh_ros.detection.mediapipe_graph import RawHand
from hand_mesh_ros.detection.mediapipe_hands import PADDED_TRY_PERIOD, MediaPipeHands
from hand_mesh_ros.detection.native_log import known_noise_dropped
from hand_mesh_ros.detection.padded_view import MAX_SIDE_PX, PaddedView
from hand_mesh_ros.types import Detection

FRAME_NS = 33_333_333
PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "real_hands"
# A flat right hand, fingers up, palm to the camera; thumb on the left. Fractions of its height.
FINGER_BASES = np.array([[-0.15, -0.1], [-0.15, -0.45], [0.0, -0.5], [0.12, -0.45], [0.22, -0.38]])
FINGER_STEPS = np.array([[-0.1, -0.1], [-0.04, -0.14], [0.0, -0.16], [0.03, -0.14], [0.06, -0.1]])
FLAT_HAND = np.concatenate(
    [
        np.zeros((1, 2)),
        *(FINGER_BASES[f] + k * FINGER_STEPS[[f]] for f in range(5) for k in range(4)),
    ]
)


def hand_at(center_px, size_px=100.0, side=Side.RIGHT, score=0.9, side_score=0.9) -> Detection:
    shape = FLAT_HAND * ([1.0, 1.0] if side is Side.RIGHT else [-1.0, 1.0])
    keypoints = np.asarray(center_px) + size_px * (shape - shape.mean(axis=0))
    return Detection(
        side=side,
        side_score=side_score,
        score=score,
        keypoints_px=keypoints,
        keypoints_rel_m=None,
        box_px=np.concatenate([keypoints.min(0), keypoints.max(0)]),
    )


# --- duplicates -----------------------------------------------------------------------------


def test_two_reports_of_one_hand_become_the_better_one():
    better, worse = hand_at((200, 200), score=0.9), hand_at((205, 197), score=0.6)
    assert drop_duplicates([worse, better]) == [better]


def test_a_report_of_the_wrong_side_is_a_duplicate_too():
    right = hand_at((200, 200), score=0.9)
    left = hand_at((203, 200), side=Side.LEFT, score=0.95)
    assert np.linalg.norm(right.keypoints_px - left.keypoints_px, axis=1).mean() > 25
    assert is_same_hand(right, left)
    assert drop_duplicates([right, left]) == [left]


def test_hands_side_by_side_are_two():
    a, b = hand_at((200, 200)), hand_at((240, 200), side=Side.LEFT, score=0.8)
    assert drop_duplicates([b, a]) == [a, b]


# --- padding --------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(224, 224), (301, 200), (640, 480), (1280, 720)])
def test_points_come_back_from_the_padded_view(width, height):
    where = np.array([0.31 * width, 0.62 * height])
    y, x = np.mgrid[:height, :width]
    sigma = width / 40
    blob = 250.0 * np.exp(-((x - where[0]) ** 2 + (y - where[1]) ** 2) / (2 * sigma**2))
    view = PaddedView.of(np.repeat(np.rint(blob).astype(np.uint8)[:, :, None], 3, axis=2))

    assert view.image.shape[0] == view.image.shape[1] <= MAX_SIDE_PX
    weight = view.image[:, :, 0].astype(float)
    yy, xx = np.mgrid[: weight.shape[0], : weight.shape[1]]
    seen = np.array([(weight * xx).sum(), (weight * yy).sum()]) / weight.sum()
    assert np.allclose(view.to_source(seen), where, atol=0.1)


# --- policy, on an engine that follows a script -----------------------------------------------


class ScriptedEngine:
    """Reports what the test says; remembers what it was asked."""

    def __init__(self, **_):
        self.calls: list[tuple[bool, bool, bool]] = []  # padded, search, forget
        self.see = lambda padded: []

    def process(self, image, *, search, forget):
        padded = image.shape[0] == image.shape[1]
        self.calls.append((padded, search, forget))
        size = np.array([image.shape[1], image.shape[0]])
        return [
            RawHand(h.side, h.side_score, h.score, h.keypoints_px / size, np.zeros((21, 3)))
            for h in self.see(padded)
        ]

    def close(self):
        pass


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(mediapipe_hands, "HandGraph", ScriptedEngine)
    detector = MediaPipeHands(max_hands=2)
    return detector, detector._engine


IMAGE = np.zeros((240, 320, 3), np.uint8)


def run(detector, images, start=0):
    return [detector.detect(IMAGE, (start + i) * FRAME_NS) for i in range(images)]


def test_an_empty_view_is_padded_once_in_a_period(scripted):
    detector, engine = scripted
    run(detector, 4 * PADDED_TRY_PERIOD)
    padded = [call[0] for call in engine.calls]
    assert padded[:2] == [False, True]  # a single image gets both tries
    assert padded.count(True) == 4
    assert len(engine.calls) == 4 * PADDED_TRY_PERIOD + 4


def test_a_hand_found_padded_stays_padded_and_is_mapped_back(scripted):
    detector, engine = scripted
    # 320 x 240 in the middle of 640 x 640, not scaled: the hand is drawn in padded pixels.
    engine.see = lambda padded: [hand_at((320, 320))] if padded else []
    hands = run(detector, 5)
    assert all(len(h) == 1 for h in hands)
    assert np.allclose(hands[0][0].keypoints_px.mean(0), (160, 120))
    assert [c[0] for c in engine.calls] == [False, True, True, True, True, True]
    assert [c[2] for c in engine.calls] == [True, True, False, False, False, False]


def test_losing_a_padded_hand_goes_back_to_the_plain_view(scripted):
    detector, engine = scripted
    engine.see = lambda padded: [hand_at((320, 320))] if padded else []
    run(detector, 2)
    engine.see = lambda padded: [] if padded else [hand_at((160, 120))]
    engine.calls.clear()
    assert len(run(detector, 2, start=2)[0]) == 1
    assert [c[0] for c in engine.calls] == [True, False, False]


def test_the_palm_detector_rests_while_all_hands_are_tracked(scripted):
    detector, engine = scripted
    engine.see = lambda padded: [hand_at((80, 120)), hand_at((240, 120))]
    run(detector, 60)
    assert [c[1] for c in engine.calls] == [True] + [False] * 59


def test_with_one_hand_of_two_it_searches_four_times_a_second(scripted):
    detector, engine = scripted
    engine.see = lambda padded: [hand_at((80, 120))]
    run(detector, 60)
    searched = [i for i, c in enumerate(engine.calls) if c[1]]
    assert searched == [0, 8, 16, 24, 32, 40, 48, 56]


def test_it_searches_at_once_when_one_of_two_is_lost(scripted):
    detector, engine = scripted
    engine.see = lambda padded: [hand_at((80, 120)), hand_at((240, 120))]
    run(detector, 3)
    engine.see = lambda padded: [hand_at((80, 120))]
    run(detector, 3, start=3)
    assert [c[1] for c in engine.calls] == [True, False, False, False, True, False]


@pytest.mark.parametrize("image", [np.zeros((120, 320, 3), np.uint8), IMAGE])
def test_another_size_or_an_earlier_time_starts_anew(scripted, image):
    detector, engine = scripted
    engine.see = lambda padded: [hand_at((80, 120))]
    run(detector, 2)
    stamp = 0 if image is IMAGE else 2 * FRAME_NS
    detector.detect(image, stamp)
    assert engine.calls[-1] == (False, True, True)


def test_bad_landmarks_are_dropped(scripted):
    detector, engine = scripted
    bad = hand_at((80, 120))
    bad.keypoints_px[3, 1] = np.nan
    engine.see = lambda padded: [bad, hand_at((240, 120))]
    hands = run(detector, 1)[0]
    assert len(hands) == 1
    assert hands[0].keypoints_px.mean(0)[0] == pytest.approx(240)


def test_a_third_hand_does_not_push_out_a_tracked_one(scripted):
    detector, engine = scripted
    two = [hand_at((60, 120), score=0.6), hand_at((160, 120), score=0.9)]
    engine.see = lambda padded: two
    run(detector, 1)
    engine.see = lambda padded: [*two, hand_at((260, 120), score=0.99)]
    hands = run(detector, 1, start=1)[0]
    assert sorted(round(h.keypoints_px.mean(0)[0]) for h in hands) == [60, 160]


def test_it_refuses_what_is_no_rgb_image(scripted):
    with pytest.raises(ValueError, match=r"\(4, 4\) float64; expected \(H, W, 3\) uint8"):
        scripted[0].detect(np.zeros((4, 4)), 0)


def test_it_refuses_impossible_settings():
    with pytest.raises(ValueError, match="max_hands is 0"):
        MediaPipeHands(max_hands=0)
    with pytest.raises(ValueError, match=r"min_tracking_confidence is 1\.5"):
        MediaPipeHands(min_tracking_confidence=1.5)


# --- loading ----------------------------------------------------------------------------------


def test_mediapipe_is_not_imported_before_it_is_needed():
    code = (
        "import sys, hand_mesh_ros.detection.mediapipe_hands, hand_mesh_ros.tracking;"
        "assert 'mediapipe' not in sys.modules and 'torch' not in sys.modules"
    )
    root = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_detection_loads_no_matplotlib_and_leaves_mediapipe_whole():
    pytest.importorskip("mediapipe")
    code = (
        "import sys; from hand_mesh_ros.detection.mediapipe_hands import MediaPipeHands\n"
        "MediaPipeHands()\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import mediapipe as mp, numpy as np\n"
        "hands = mp.solutions.hands.Hands()\n"
        "assert hands.process(np.zeros((9, 9, 3), np.uint8)).multi_hand_landmarks is None\n"
        "assert mp.__version__ and mp.tasks.vision.HandLandmarker and mp.Image\n"
        "MediaPipeHands()\n"
    )
    root = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_without_mediapipe_the_error_names_the_install_line(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ImportError, match=r'pip install "mediapipe==0\.10\.21"'):
        MediaPipeHands()


def test_known_noise_is_dropped_and_everything_else_passes(capfd):
    with known_noise_dropped():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nours: a hand\n")
        os.write(2, b"W0000 a new warning\n")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "ours: a hand\nW0000 a new warning\nlater\n"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (None, "no such file"),
        ([], "is a zip of nothing"),
        (["hand_detector.tflite"], r"is a zip of hand_detector\.tflite"),
        (["hand_detector.tflite", "hand_landmarks_detector.tflite"], "mediapipe cannot read it"),
    ],
)
def test_a_wrong_task_file_is_one_clear_line(tmp_path, members, message):
    pytest.importorskip("mediapipe")
    path = tmp_path / "wrong.task"
    if members is not None:
        with zipfile.ZipFile(path, "w") as bundle:
            for name in members:
                bundle.writestr(name, b"no model")
    with pytest.raises((FileNotFoundError, ValueError), match=message) as caught:
        MediaPipeHands(hand_landmarker_task=str(path))
    assert "\n" not in str(caught.value)
    assert "wrong.task" in str(caught.value)
    assert "expected" in str(caught.value)


def test_a_task_file_that_is_no_zip(tmp_path):
    path = tmp_path / "hand.task"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="is no zip"):
        MediaPipeHands(hand_landmarker_task=str(path))


# --- the real thing, on rendered hands --------------------------------------------------------


@pytest.fixture(scope="module")
def scenes():
    """Six images of a right hand, with their truth. MediaPipe may fail on one of them."""
    from hand_mesh_ros.sources.synthetic import SyntheticCamera

    return [SyntheticCamera(seed=seed).frame_at(i) for seed in (0, 2) for i in (0, 30, 60)]


@pytest.fixture(scope="module")
def task_file(tmp_path_factory):
    """A `.task` bundle assembled from the wheel's own models."""
    mediapipe = pytest.importorskip("mediapipe")
    models = Path(mediapipe.__file__).parent / "modules"
    path = tmp_path_factory.mktemp("task") / "hand_landmarker.task"
    parts = {
        "hand_detector.tflite": models / "palm_detection" / "palm_detection_full.tflite",
        "hand_landmarks_detector.tflite": models / "hand_landmark" / "hand_landmark_full.tflite",
    }
    if not all(p.is_file() for p in parts.values()):
        pytest.skip("this mediapipe brings no models")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        for name, part in parts.items():
            bundle.write(part, name)
    return str(path)


@pytest.fixture(scope="module", params=["graph", "task"])
def detector(request, task_file):
    pytest.importorskip("mediapipe")
    detector = MediaPipeHands(hand_landmarker_task=task_file if request.param == "task" else "")
    yield detector
    detector.close()
    detector.close()


def settle(detector, image, images=5) -> list[Detection]:
    """Hands of a still image, once the crops that they are read from have settled."""
    detector.reset()
    return [detector.detect(image, i * FRAME_NS) for i in range(images)][-1]


def test_rendered_hands_are_found_where_they_are(detector, scenes):
    good = 0
    for scene in scenes:
        detector.reset()
        (hand,) = detector.detect(scene.frame.image, 0)
        error = np.linalg.norm(hand.keypoints_px - scene.hands[0].keypoints_px, axis=1).mean()
        good += hand.side is Side.RIGHT and error < 0.1 * hand_size_px(hand)
        assert 0.5 <= hand.side_score <= 1.0
        assert 0.5 <= hand.score <= 1.0
        expected_box = [*hand.keypoints_px.min(0), *hand.keypoints_px.max(0)]
        assert np.array_equal(hand.box_px, expected_box)
    assert good >= len(scenes) - 1


def test_relative_landmarks_have_the_axes_of_the_camera(detector, scenes):
    correlations, scales = [], []
    for scene in scenes:
        detector.reset()
        guess = detector.detect(scene.frame.image, 0)[0].keypoints_rel_m
        truth = scene.hands[0].keypoints_m
        correlations.append([np.corrcoef(truth[:, k], guess[:, k])[0, 1] for k in range(3)])
        scales.append(guess.std(axis=0).mean() / truth.std(axis=0).mean())
    x, y, z = np.median(correlations, axis=0)
    assert x > 0.9
    assert y > 0.9
    assert z > 0.3  # a guess from one image; turned around it would be negative
    assert 0.7 < np.median(scales) < 1.4  # metres


def test_a_mirrored_image_shows_the_other_hand(detector, scenes):
    good = 0
    for scene in scenes:
        image = scene.frame.image
        (hand,) = settle(detector, image)
        (mirrored,) = settle(detector, np.ascontiguousarray(image[:, ::-1]))
        back = mirrored.keypoints_px * [-1, 1] + [image.shape[1] - 1, 0]
        agree = np.abs(back - hand.keypoints_px).mean() < 0.03 * hand_size_px(hand)
        good += agree and (hand.side, mirrored.side) == (Side.RIGHT, Side.LEFT)
    assert good >= len(scenes) - 1


def test_pixel_centres_are_integers(detector, scenes):
    # Turned by 180 degrees, pixel (x, y) becomes (W - 1 - x, H - 1 - y), and MediaPipe's crop,
    # which turns with the hand, stays the same. Half a pixel of shift would show as 1 px here.
    shifts = []
    for scene in scenes:
        image = scene.frame.image
        (hand,) = settle(detector, image)
        (turned,) = settle(detector, np.ascontiguousarray(image[::-1, ::-1]))
        last = np.array([image.shape[1] - 1, image.shape[0] - 1])
        shifts.append((hand.keypoints_px + turned.keypoints_px - last).mean(0))
    assert np.abs(np.median(shifts, axis=0)).max() < 0.3


def test_a_hand_that_fills_the_image_is_found(detector, scenes):
    plain, good = 0, 0
    for scene in scenes:
        truth = scene.hands[0].keypoints_px
        margin = 0.08 * np.ptp(truth, axis=0).max()
        x0, y0 = np.maximum(np.rint(truth.min(0) - margin).astype(int), 0)
        x1, y1 = np.rint(truth.max(0) + margin).astype(int)
        crop = cv2.resize(scene.frame.image[y0:y1, x0:x1], None, fx=2, fy=2)
        plain += bool(detector._engine.process(crop, search=True, forget=True))
        for hand in settle(detector, crop):
            in_frame = (hand.keypoints_px + 0.5) / 2 - 0.5 + [x0, y0]
            error = np.linalg.norm(in_frame - truth, axis=1).mean()
            good += error < 0.1 * np.ptp(truth, axis=0).max()
    assert good >= len(scenes) - 1
    assert plain < good  # else this tests nothing


def test_the_graph_searches_only_when_told(scenes):
    pytest.importorskip("mediapipe")
    detector = MediaPipeHands(max_hands=1)
    engine, image = detector._engine, scenes[0].frame.image
    assert engine.process(image, search=False, forget=True) == []
    assert len(engine.process(image, search=True, forget=True)) == 1
    assert len(engine.process(image, search=False, forget=False)) == 1  # tracked, no palm detector
    assert engine.process(image, search=False, forget=True) == []
    detector.close()
    with pytest.raises(RuntimeError, match="closed"):
        detector.detect(image, 0)


def test_the_edited_graph_sees_what_the_stock_one_sees(scenes):
    hands_module = pytest.importorskip("mediapipe.python.solutions.hands")
    stock, ours = hands_module.Hands(), MediaPipeHands()
    for scene in scenes[:3]:
        image = scene.frame.image
        stock.reset()
        ours.reset()
        for i in range(3):
            result = stock.process(image)
            (hand,) = ours.detect(image, i * FRAME_NS)
            landmarks = [(p.x, p.y) for p in result.multi_hand_landmarks[0].landmark]
            world = [(p.x, p.y, p.z) for p in result.multi_hand_world_landmarks[0].landmark]
            expected_px = np.array(landmarks) * [image.shape[1], image.shape[0]]
            assert np.allclose(hand.keypoints_px, expected_px, atol=0.05)
            assert np.allclose(hand.keypoints_rel_m, world, atol=1e-3)
            (side,) = result.multi_handedness[0].classification
            assert hand.side_score == pytest.approx(side.score, abs=1e-3)
            assert (hand.side is Side.RIGHT) == (side.label == "Left")
    stock.close()
    ours.close()


def test_two_hands_and_the_limit():
    pytest.importorskip("mediapipe")
    from hand_mesh_ros.sources.synthetic import SyntheticCamera

    camera = SyntheticCamera(hands=2, seed=1)
    two, one = MediaPipeHands(max_hands=2), MediaPipeHands(max_hands=1)
    sides = []
    for i in range(0, 30, 3):
        frame = camera.frame_at(i).frame
        sides.append({d.side for d in two.detect(frame.image, frame.stamp_ns)})
        assert len(one.detect(frame.image, frame.stamp_ns)) == 1
    assert sides.count({Side.LEFT, Side.RIGHT}) >= 9
    assert two.searches == one.searches == 1


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs beside the checkout")
def test_photographs_of_right_hands():
    pytest.importorskip("mediapipe")
    detector = MediaPipeHands()
    for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
        detector.reset()
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        hands = detector.detect(image, 0)
        assert hands, path.name
        assert hands[0].side is Side.RIGHT, path.name
        assert hands[0].score > 0.8
