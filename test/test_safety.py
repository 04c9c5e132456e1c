"""Safety gates: what no hand can do never reaches a robot, and what hands do is never lost."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from camera_samples import START_NS, STORE, camera_info, image
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline
from hand_samples import sample_hand

from hand_mesh_ros.assembly import build_pipeline, build_safety
from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.pipeline import Pipeline
from hand_mesh_ros.ros.named_hands import NamedHands
from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.rotations import rotation_from_axis_angle
from hand_mesh_ros.safety import MARKED_STDDEV, SafetyLimits, broken_fields, without_broken
from hand_mesh_ros.smoothing import HandSmoother
from hand_mesh_ros.sources.files import open_source
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.tracking import Tracker
from hand_mesh_ros.types import Detection, Frame, Reconstruction

MODEL = load_open_hand()
ANATOMY = Anatomy.of(MODEL)
CAMERA = Camera.from_fov(640, 480, 60)
IMAGE = np.zeros((480, 640, 3), np.uint8)
RIGHTWARDS = np.array([1.0, 0.0])
PERIOD_NS = 33_333_333
PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "real_hands"


def frame(index=0):
    return Frame(IMAGE, CAMERA, 1_000_000_000 + index * PERIOD_NS, "camera")


def gates(**parameters):
    names = {f"safety_{name}": value for name, value in parameters.items()}
    return build_safety(NodeParameters(**names), MODEL)


def hand(angles=None, side=Side.RIGHT, t=(0.05, -0.02, 0.5), turn=(0.1, 0.2, 0.3), **changes):
    """A hand of the open hand, as the pipeline would place it."""
    angles = ANATOMY.mean_rad if angles is None else angles
    R, t = rotation_from_axis_angle(np.array(turn, float)), np.array(t, float)
    pose = ANATOMY.pose(angles, R) - MODEL.full_pose(np.zeros(48))
    model = MODEL if side is Side.RIGHT else MODEL.mirrored()
    if side is Side.LEFT:
        pose = mirror_axis_angle(pose)
    posed = model.pose_hand(pose, np.zeros(10))
    keypoints = model.keypoints(posed, np.zeros(10), "detector") + t
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_from_axis_angle(pose[:3]), t
    values = {
        "pose": pose,
        "shape": np.zeros(10),
        "vertices_m": posed.vertices_m + t,
        "keypoints_m": keypoints,
        "keypoints_px": CAMERA.project(keypoints),
        "T_camera_wrist": T,
        "root_covariance": 0.01 * np.eye(6),
        "hand_model": MODEL.name,
    }
    return sample_hand(side, **{**values, **changes})


def bent(name, beyond_deg):
    angles = ANATOMY.mean_rad.copy()
    i = ANATOMY.angle(name)
    angles[i] = ANATOMY.upper_rad[i] + np.radians(beyond_deg)
    return angles


# One gate at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_a_hand_that_stays_within_its_limits_passes(side):
    safety = gates()
    for index in range(5):
        judged = safety.judge((hand(side=side, t=(0.01 * index, 0, 0.5)),), frame(index))
        assert (len(judged.sound), judged.marked, judged.reasons) == (1, (), ())


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("name", ["index_pip_flexion", "thumb_ip_flexion", "little_mcp_abduction"])
def test_a_joint_beyond_its_limit_is_held_back_on_either_side(name, side):
    safety = gates()
    assert safety.judge((hand(bent(name, 20), side),), frame()).sound
    judged = safety.judge((hand(bent(name, 50), side),), frame())
    assert judged.sound == ()
    assert name in judged.reasons[0]
    assert judged.reasons[0].startswith(f"{side.name.lower()} hand held back: ")


def test_a_finger_that_bends_backwards_is_held_back():
    angles = ANATOMY.mean_rad.copy()
    angles[ANATOMY.angle("middle_pip_flexion")] = np.radians(-60)
    assert "middle_pip_flexion" in gates().judge((hand(angles),), frame()).reasons[0]


def test_a_twisted_finger_is_held_back():
    pose = hand().pose.copy()
    i = ANATOMY.angle("index_pip_flexion")
    bone = np.cross(ANATOMY.axis[i], [0.0, 0.0, 1.0])
    bone = np.cross(bone, ANATOMY.axis[i]) if np.linalg.norm(bone) > 0.5 else [0.0, 1.0, 0.0]
    bone = bone / np.linalg.norm(bone)
    joint = ANATOMY.joint[i]
    pose[3 * joint : 3 * joint + 3] += np.radians(60) * bone
    assert "twisted" in gates().judge((hand(pose=pose),), frame()).reasons[0]


def test_no_pose_within_the_limits_is_held_back():
    """The gate reads angles to first order: even in the corners the margin covers that."""
    rng = np.random.default_rng(0)
    safety = gates()
    for side in Side:
        for _ in range(200):
            upper = rng.random(len(ANATOMY.names)) < 0.5
            angles = np.where(upper, ANATOMY.upper_rad, ANATOMY.lower_rad)
            assert safety._bent_too_far(hand(angles, side)) is None


def test_a_hand_without_a_pose_is_judged_by_the_rest():
    assert gates().judge((hand(pose=None, shape=None),), frame()).sound


def test_a_jump_is_held_back_until_a_hand_could_have_got_there():
    safety = gates(max_speed_m_s=5.0)
    near, far = hand(t=(0.0, 0.0, 0.5)), hand(t=(0.0, 0.0, 1.0))
    assert safety.judge((near,), frame(0)).sound
    passed = [bool(safety.judge((far,), frame(index)).sound) for index in range(1, 6)]
    # 0.5 m at 5 m/s, less 0.1 m of noise: 0.08 s, which is over at the third frame.
    assert passed == [False, False, True, True, True]


def test_one_wrong_frame_is_dropped_and_the_next_right_one_is_not():
    safety = gates()
    places = [0.5, 0.5, 1.2, 0.5, 0.5]
    held = [not safety.judge((hand(t=(0, 0, z)),), frame(i)).sound for i, z in enumerate(places)]
    assert held == [False, False, True, False, False]


def test_a_palm_that_flips_over_is_held_back():
    safety = gates()
    safety.judge((hand(turn=(0, 0, 0)),), frame(0))
    judged = safety.judge((hand(turn=(0, np.pi - 0.01, 0)),), frame(1))
    assert "turned 179 deg" in judged.reasons[0]


def test_a_jump_of_the_side_counts_where_the_detector_began_a_new_track():
    safety = gates()
    safety.judge((hand(t=(0, 0, 0.5), track_id=1),), frame(0))
    assert "moved" in safety.judge((hand(t=(0, 0, 1.5), track_id=2),), frame(1)).reasons[0]
    # Somebody else's right hand, while the first one is still there, is no jump.
    both = (hand(t=(0, 0, 0.5), track_id=1), hand(t=(0.3, 0, 1.5), track_id=3))
    assert len(safety.judge(both, frame(2)).sound) == 2


def test_after_a_second_a_hand_may_be_anywhere_and_time_that_goes_back_forgets():
    safety = gates()
    safety.judge((hand(t=(0, 0, 0.2)),), frame(0))
    assert safety.judge((hand(t=(0, 0, 9.0)),), frame(31)).sound
    assert safety.judge((hand(t=(0, 0, 0.2)),), frame(0)).sound


def test_a_hand_beside_its_landmarks_is_held_back():
    off = hand()
    extent_px = np.ptp(off.keypoints_px, axis=0).max()
    safety = gates()
    beside = replace(off, keypoints_px=off.keypoints_px + 0.12 * extent_px * RIGHTWARDS)
    assert safety.judge((beside,), frame()).sound
    far = replace(off, keypoints_px=off.keypoints_px + 0.2 * extent_px * RIGHTWARDS)
    assert "lies 20% of its size beside" in safety.judge((far,), frame()).reasons[0]


def test_a_hand_behind_the_camera_is_held_back():
    behind = hand()
    behind = replace(behind, keypoints_m=behind.keypoints_m - [0, 0, 1.0])
    assert "only 0 of its keypoints" in gates().judge((behind,), frame()).reasons[0]


def test_a_changed_side_has_to_be_sure():
    safety = gates()
    safety.judge((hand(),), frame(0))
    unsure = safety.judge((hand(side=Side.LEFT, side_score=0.73),), frame(1))
    assert "changed its side, and is only 73% sure" in unsure.reasons[0]
    assert safety.judge((hand(side=Side.LEFT, side_score=0.95),), frame(2)).sound
    # And it is the left hand from then on: no more doubts about that.
    assert safety.judge((hand(side=Side.LEFT, side_score=0.6),), frame(3)).sound


# What happens to a hand that broke a limit ------------------------------------------------------


def test_a_marked_hand_has_no_score_and_a_wide_covariance():
    wrong = hand(bent("index_pip_flexion", 60))
    judged = gates(action="mark").judge((wrong, hand(track_id=2)), frame())
    (marked,), (sound,) = judged.marked, judged.sound
    assert (marked.score, sound.score) == (0.0, 0.9)
    assert marked.root_covariance == pytest.approx(MARKED_STDDEV**2 * wrong.root_covariance)
    assert "hand marked: index_pip_flexion" in judged.reasons[0]


@pytest.mark.parametrize("action", ["hold", "mark", "off"])
def test_broken_numbers_are_held_back_whatever_the_parameters_say(action):
    pose = hand().pose.copy()
    pose[7] = np.nan
    judged = gates(action=action).judge((hand(pose=pose), hand(track_id=2)), frame())
    assert [h.track_id for h in judged.sound] == [2]
    assert judged.marked == ()
    assert judged.reasons == ("right hand held back: broken numbers: pose",)


def test_off_lets_everything_else_pass():
    assert gates(action="off").judge((hand(bent("index_pip_flexion", 60)),), frame()).sound


def test_what_float32_cannot_hold_and_what_is_no_rotation_is_broken():
    good = hand()
    assert broken_fields(good) == []
    assert broken_fields(replace(good, vertices_m=good.vertices_m * 1e40)) == ["vertices_m"]
    for R in (np.zeros((3, 3)), np.diag([1.0, 1.0, -1.0]), 1.01 * np.eye(3)):
        T = good.T_camera_wrist.copy()
        T[:3, :3] = R
        assert broken_fields(replace(good, T_camera_wrist=T)) == ["T_camera_wrist"]
    assert without_broken((good,)).sound == (good,)


def test_a_broken_hand_leaves_nothing_behind_in_the_filter():
    """Without the gate before it, one NaN would stay in the filter for the life of the track."""
    safety, smoother = gates(), HandSmoother(MODEL)
    for index in range(4):
        seen = hand()
        if index == 1:
            seen = replace(seen, pose=np.full(48, np.nan))
        judged = safety.judge((seen,), frame(index))
        smoothed = smoother.update(judged.sound, frame(index).stamp_ns)
        assert len(smoothed) == (index != 1)
        assert all(broken_fields(h) == [] for h in smoothed)


class Sees:
    """Detector and reconstructor that know one hand."""

    name, back_end = "known", "none"

    def __init__(self, known):
        self.hand_model, self.known = MODEL, known
        t = known.T_camera_wrist[:3, 3]
        self.answer = Reconstruction(
            vertices_m=known.vertices_m - t,
            keypoints_m=known.keypoints_m - t,
            joints_m=np.zeros((16, 3)),
            R_camera_hand=known.T_camera_wrist[:3, :3],
            pose=known.pose,
            shape=known.shape,
            rotation_covariance=0.01 * np.eye(3),
            size_stddev=0.06,
        )

    def detect(self, image, stamp_ns):
        box = np.concatenate([self.known.keypoints_px.min(0), self.known.keypoints_px.max(0)])
        return [Detection(self.known.side, 0.95, 0.9, self.known.keypoints_px, None, box)]

    def reconstruct(self, frame, tracks):
        return [self.answer for _ in tracks]

    def reset(self):
        pass


def pipeline_that_sees(known, **parameters):
    sees = Sees(known)
    return Pipeline(
        detector=sees,
        tracker=Tracker(),
        reconstructor=sees,
        smoother=HandSmoother(MODEL),
        safety=gates(**parameters),
    )


def test_the_pipeline_publishes_no_held_back_hand_and_learns_from_none():
    result = pipeline_that_sees(hand(bent("index_pip_flexion", 60))).process(frame())
    assert (result.hands, result.unsmoothed_hands) == ((), ())
    assert "index_pip_flexion" in result.safety_reasons[0]
    assert len(pipeline_that_sees(hand()).process(frame()).hands) == 1


def test_the_pipeline_publishes_a_marked_hand_as_seen_and_learns_from_none():
    pipeline = pipeline_that_sees(hand(bent("index_pip_flexion", 60)), action="mark")
    for index in range(3):
        result = pipeline.process(frame(index))
        assert [h.score for h in result.hands] == [0.0]
        assert result.unsmoothed_hands == ()
    assert pipeline.smoother is not None
    assert not pipeline.smoother._tracks


def test_resetting_the_pipeline_forgets_where_hands_were():
    pipeline = pipeline_that_sees(hand())
    pipeline.process(frame())
    assert pipeline.safety._trusted
    pipeline.reset()
    assert not pipeline.safety._trusted


def test_a_marked_hand_owns_no_frames():
    marked, good = hand(score=0.0), hand(track_id=2, score=0.5)
    assert NamedHands().update([marked]) == []
    assert NamedHands().update([marked, good]) == [good]


class Reports(FakePipeline):
    def process(self, frame):
        reason = "left hand held back: moved 0.41 m in 0.033 s, more than 0.22 m"
        return replace(super().process(frame), safety_reasons=(reason,))


def test_reasons_are_in_the_log_once_and_in_the_diagnostics(caplog):
    graph = FakeGraph(STORE)
    node = HandMeshNode(graph, NodeParameters(), Reports(), store=STORE)
    node.activate()
    graph.send("camera_info", camera_info())
    for index in range(3):
        graph.send("image", image(START_NS + index * PERIOD_NS))
        assert node.wait_until_idle(10.0)
    node.publish_diagnostics()
    node.close()
    said = [r.getMessage() for r in caplog.records if "held back" in r.getMessage()]
    assert said == ["left hand held back: moved 0.41 m in 0.033 s, more than 0.22 m"]
    status = graph.messages("/diagnostics")[-1].status[0]
    values = {v.key: v.value for v in status.values}
    assert values["hands held back or marked"] == "3"
    assert values["last hand held back or marked"] == said[0]
    assert (status.level, status.message) == (1, f"held back or marked 3 hands: {said[0]}")


def test_every_limit_is_a_parameter():
    names = {field.name for field in fields(SafetyLimits)}
    parameters = {field.name for field in fields(NodeParameters)}
    assert {f"safety_{name}" for name in names} < parameters


# Good hands are not lost ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline():
    pipeline = build_pipeline(NodeParameters())
    yield pipeline
    pipeline.close()


@pytest.mark.parametrize(("seed", "hands"), [(7, 1), (0, 2)])
def test_no_hand_of_the_synthetic_camera_is_held_back(pipeline, seed, hands):
    pipeline.reset()
    camera = SyntheticCamera(seed=seed, hands=hands)
    found = 0
    for index in range(30):
        result = pipeline.process(camera.frame_at(index).frame)
        assert result.safety_reasons == ()
        found += len(result.hands)
    assert found >= 27 * hands


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs in ../shared/real_hands")
def test_no_photographed_hand_is_held_back(pipeline):
    for shown in open_source(str(PHOTOGRAPHS)):
        pipeline.reset()
        result = pipeline.process(shown)
        assert (len(result.hands), result.safety_reasons) == (1, ())
