"""The pipeline on the synthetic camera and on photographs, and its rules with simple parts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import RootSource, Side
from hand_mesh_ros.evaluation.metrics import pa_error_m
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.ros.parameters import NodeParameters, ParameterError
from hand_mesh_ros.sources.files import open_source
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Frame, Reconstruction

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "real_hands"


@pytest.fixture(scope="module")
def pipeline():
    pipeline = build_pipeline(NodeParameters())
    yield pipeline
    pipeline.close()


def errors(pipeline, camera, indices):
    """Root error (share of distance), PA errors of keypoints and vertices, m, of matched hands."""
    pipeline.reset()
    found = []
    for index in indices:
        truth = camera.frame_at(index)
        for hand in pipeline.process(truth.frame).hands:
            for true in truth.hands:
                if true.side is hand.side:
                    t, t_true = hand.T_camera_wrist[:3, 3], true.T_camera_wrist[:3, 3]
                    found.append(
                        (
                            np.linalg.norm(t - t_true) / np.linalg.norm(t_true),
                            pa_error_m(hand.keypoints_m, true.keypoints_m),
                            pa_error_m(hand.vertices_m, true.vertices_m),
                        )
                    )
    return np.array(found).reshape(-1, 3)


SEEDS = (0, 1, 3)


def test_synthetic_hands_are_found_where_they_are(pipeline):
    found = [errors(pipeline, SyntheticCamera(seed=s), range(0, 90, 2)) for s in SEEDS]
    assert min(len(f) for f in found) >= 43, "hand missed"
    root, joints, vertices = np.median(np.concatenate(found), axis=0)
    assert root < 0.08
    assert joints < 0.010
    assert vertices < 0.010


@pytest.mark.parametrize("seed", SEEDS)
def test_distance_is_right_where_the_length_is_known(seed):
    camera = SyntheticCamera(seed=seed)
    pipeline = build_pipeline(NodeParameters(known_hand_length_m=camera.hand_length_m()))
    found = errors(pipeline, camera, range(0, 90, 2))
    pipeline.close()
    assert np.median(found[:, 0]) < 0.04


def test_both_hands_are_found_on_their_sides(pipeline):
    found = errors(pipeline, SyntheticCamera(hands=2, seed=0), range(0, 60, 2))
    assert len(found) >= 54
    assert np.median(found[:, 0]) < 0.08


def test_known_length_is_used():
    camera = SyntheticCamera(seed=1)
    length_m = camera.hand_length_m()
    pipeline = build_pipeline(NodeParameters(known_hand_length_m=length_m))
    hand = pipeline.process(camera.frame_at(0).frame).hands[0]
    assert load_open_hand().hand_length_m(hand.shape) == pytest.approx(length_m, abs=1e-3)
    pipeline.close()


def test_unknown_size_is_in_the_covariance(pipeline):
    pipeline.reset()
    hand = pipeline.process(SyntheticCamera(seed=1).frame_at(0).frame).hands[0]
    t = hand.T_camera_wrist[:3, 3]
    direction = t / np.linalg.norm(t)
    along = np.sqrt(direction @ hand.root_covariance[:3, :3] @ direction)
    assert along > 0.055 * np.linalg.norm(t)
    assert np.linalg.eigvalsh(hand.root_covariance).min() > 0


def test_stated_deviations_of_the_root_are_those_of_its_errors():
    """With the size known, what is left is what the landmarks say: they err together."""
    along, across, turns = [], [], []
    for seed in range(20, 28):
        camera = SyntheticCamera(seed=seed)
        known = NodeParameters(known_hand_length_m=camera.hand_length_m(), smoothing_enabled=False)
        pipeline = build_pipeline(known)
        for index in range(0, 150, 30):
            shown = camera.frame_at(index)
            for hand in pipeline.process(shown.frame).hands:
                T, T_true = hand.T_camera_wrist, shown.hands[0].T_camera_wrist
                error, covariance = T[:3, 3] - T_true[:3, 3], hand.root_covariance
                sight = T_true[:3, 3] / np.linalg.norm(T_true[:3, 3])
                beside = np.eye(3) - np.outer(sight, sight)
                stated = np.trace(beside @ covariance[:3, :3] @ beside)
                along.append((error @ sight) ** 2 / (sight @ covariance[:3, :3] @ sight))
                across.append(np.sum((beside @ error) ** 2) / stated)
                turn = Rotation.from_matrix(T[:3, :3] @ T_true[:3, :3].T).as_rotvec()
                turns.append(turn @ np.linalg.solve(covariance[3:, 3:], turn) / 3.0)
        pipeline.close()
    assert len(along) > 30
    for squares in (along, across, turns):
        assert 0.3 < np.sqrt(np.mean(squares)) < 2.2


def test_an_empty_room_has_no_hands(pipeline):
    pipeline.reset()
    image = np.full((480, 640, 3), 90, np.uint8)
    camera = Camera.from_fov(640, 480, 60)
    for i in range(5):
        assert pipeline.process(Frame(image, camera, i * 33_000_000, "camera")).hands == ()


def test_an_assumed_camera_is_marked(pipeline):
    pipeline.reset()
    frame = SyntheticCamera(seed=1, camera=Camera.from_fov(640, 480, 60)).frame_at(0).frame
    assert frame.camera.assumed
    assert pipeline.process(frame).hands[0].root_source is RootSource.ASSUMED_CAMERA


def test_unknown_model_is_refused():
    with pytest.raises(ParameterError, match=r'model: got "m3d", expected one of "lifter"'):
        build_pipeline(NodeParameters(model="m3d"))


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs in ../shared/real_hands")
def test_photographs(pipeline):
    """Real right hands: found, on their side, and the mesh where the landmarks are."""
    shares = []
    for frame in open_source(str(PHOTOGRAPHS)):
        pipeline.reset()
        hands = pipeline.process(frame).hands
        assert [h.side for h in hands] == [Side.RIGHT]
        off_px = frame.camera.project(hands[0].keypoints_m) - hands[0].keypoints_px
        size_px = np.ptp(hands[0].keypoints_px, axis=0).max()
        shares.append(np.median(np.linalg.norm(off_px, axis=1)) / size_px)
    assert len(shares) == 12
    assert np.median(shares) < 0.02
    # On one of them the detector takes ring and little finger for thumb and index; the lifter
    # believes in a hand rather than in such landmarks.
    assert np.sort(shares)[-2] < 0.04
    assert max(shares) < 0.08


class FixedDetector:
    """Sees the same hand for ever."""

    def __init__(self, detection: Detection):
        self.detection, self.resets, self.closed = detection, 0, False

    def detect(self, image_rgb, stamp_ns):
        return [self.detection]

    def reset(self):
        self.resets += 1

    def close(self):
        self.closed = True


class FixedReconstructor:
    """Answers every track with the same thing."""

    name = "fixed"

    def __init__(self, answer: Reconstruction | None):
        self.hand_model, self.answer, self.resets = load_open_hand(), answer, 0

    def reconstruct(self, frame, tracks):
        return [self.answer for _ in tracks]

    def reset(self):
        self.resets += 1


CAMERA = Camera.from_fov(640, 480, 60)
FRAME = Frame(np.zeros((480, 640, 3), np.uint8), CAMERA, 1_000_000_000, "camera")
KEYPOINTS = np.random.default_rng(0).uniform(-0.06, 0.06, (21, 3))
T_TRUE = np.array([0.05, -0.02, 0.5])


def fixed_pipeline(keypoints_px, answer=True):
    box = np.concatenate([keypoints_px.min(0), keypoints_px.max(0)])
    detection = Detection(Side.LEFT, 0.9, 0.8, keypoints_px, None, box)
    reconstruction = Reconstruction(
        vertices_m=np.zeros((778, 3)),
        keypoints_m=KEYPOINTS,
        joints_m=np.zeros((16, 3)),
        R_camera_hand=np.eye(3),
        pose=None,
        shape=None,
        rotation_covariance=0.01 * np.eye(3),
        size_stddev=0.06,
    )
    return Pipeline(
        detector=FixedDetector(detection),
        tracker=Tracker(),
        reconstructor=FixedReconstructor(reconstruction if answer else None),
        smoother=None,
    )


def test_the_root_goes_where_the_landmarks_are():
    result = fixed_pipeline(CAMERA.project(KEYPOINTS + T_TRUE)).process(FRAME)
    (hand,) = result.hands
    assert hand.T_camera_wrist[:3, 3] == pytest.approx(T_TRUE, abs=1e-6)
    assert hand.keypoints_m == pytest.approx(KEYPOINTS + T_TRUE, abs=1e-6)
    assert (hand.side, hand.score) == (Side.LEFT, 0.8)
    assert hand.side_score == pytest.approx(0.9)
    expected = 0.06**2 * np.outer(T_TRUE, T_TRUE)
    assert (np.diag(hand.root_covariance)[:3] >= np.diag(expected)).all()
    assert hand.root_covariance[3:, 3:] == pytest.approx(0.01 * np.eye(3))
    assert (result.stamp_ns, result.frame_id) == (FRAME.stamp_ns, "camera")
    assert set(result.stage_s) == {
        *("detection", "tracking", "reconstruction", "root", "safety", "smoothing")
    }


def test_no_hand_where_the_reconstruction_gives_none():
    pipeline = fixed_pipeline(CAMERA.project(KEYPOINTS + T_TRUE), answer=False)
    assert pipeline.process(FRAME).hands == ()


def test_no_hand_where_the_landmarks_fix_no_root():
    on_a_point = np.tile([[320.0, 240.0]], (21, 1))
    pipeline = fixed_pipeline(on_a_point + 1e-9)
    assert pipeline.process(FRAME).hands == ()


def test_reset_and_close_reach_every_part():
    pipeline = fixed_pipeline(CAMERA.project(KEYPOINTS + T_TRUE))
    first = pipeline.process(FRAME).hands[0].track_id
    pipeline.reset()
    assert pipeline.detector.resets == pipeline.reconstructor.resets == 1
    assert pipeline.process(FRAME).hands[0].track_id != first
    pipeline.close()
    assert pipeline.detector.closed


def test_images_are_not_written_to(pipeline):
    frame = SyntheticCamera(seed=1).frame_at(0).frame
    before = frame.image.copy()
    frame.image.flags.writeable = False
    pipeline.reset()
    pipeline.process(frame)
    assert cv2.norm(before, frame.image) == 0
