from dataclasses import replace

import numpy as np
import pytest
from hand_samples import NUM_FACES, sample_hand, small_hand_model

from hand_mesh_ros.conventions import KEYPOINT_NAMES, Side
from hand_mesh_ros.ros.marker_encoder import MARKER_ARRAY, marker_array
from hand_mesh_ros.ros.markers import NAMESPACES, HandMarkers
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.viewer.palette import SIDE_RGB

STAMP_NS = 1_700_000_000_123_456_789
STORE = Typestore("jazzy")
MODEL = small_hand_model()
ADD, DELETE = 0, 2
LINE_LIST, SPHERE_LIST, TEXT_VIEW_FACING, TRIANGLE_LIST = 5, 7, 9, 11


def hands_of(*sides, seed=0):
    return [sample_hand(s, track_id=10 + i, seed=seed + i) for i, s in enumerate(sides)]


def decode(cdr):
    return STORE.decode(bytes(cdr), MARKER_ARRAY).markers


@pytest.mark.parametrize("frame_id", ["c", "cam", "camera_optical_frame", "été"])
@pytest.mark.parametrize(
    "sides", [(), (Side.LEFT,), (Side.RIGHT,), (Side.LEFT, Side.RIGHT), (Side.RIGHT,) * 3]
)
@pytest.mark.parametrize("colors", ["side", "uncertainty", "texture"])
def test_template_bytes_equal_the_slow_encoding(frame_id, sides, colors):
    """Several frames through one template, for every alignment that the names can cause."""
    markers = HandMarkers(STORE, MODEL)
    for frame in range(3):
        hands = [painted(hand, seed=frame) for hand in hands_of(*sides, seed=100 * frame)]
        looks = {"colors": colors, "hypotheses": [replace(h, score=0.3) for h in hands]}
        stamp_ns = STAMP_NS + frame * 33_000_000
        slow = marker_array(STORE, markers.drawn(hands, **looks), stamp_ns, frame_id)
        expected = STORE.encode(slow, MARKER_ARRAY)
        assert bytes(markers.encode(hands, stamp_ns, frame_id, **looks)) == expected


def painted(hand, seed=0):
    random = np.random.default_rng(seed)
    count = len(hand.vertices_m)
    return replace(
        hand,
        vertex_stddev_m=random.uniform(0.0, 0.03, count),
        vertex_colors=random.integers(0, 256, (count, 3), np.uint8),
    )


def test_meshes_show_texture_or_deviations_where_there_are_any():
    hand = painted(sample_hand(Side.RIGHT))
    markers = HandMarkers(STORE, MODEL)

    def corners(hand, colors):
        mesh = decode(markers.encode([hand], STAMP_NS, "cam", colors=colors))[0]
        return 255.0 * np.array([[c.r, c.g, c.b] for c in mesh.colors])

    np.testing.assert_allclose(
        corners(hand, "texture"), hand.vertex_colors[MODEL.faces.reshape(-1)], atol=1e-3
    )
    certain = replace(hand, vertex_stddev_m=np.zeros(len(hand.vertices_m)))
    assert not np.allclose(corners(hand, "uncertainty"), corners(certain, "uncertainty"))
    plain = replace(hand, vertex_stddev_m=None, vertex_colors=None)
    for colors in ("uncertainty", "texture"):
        np.testing.assert_allclose(
            corners(plain, colors), np.tile(SIDE_RGB[Side.RIGHT], (3 * NUM_FACES, 1)), atol=1e-3
        )


def test_hypotheses_have_ids_of_their_own_and_are_the_more_solid_the_likelier():
    a, b = hands_of(Side.RIGHT, Side.LEFT)
    several = [replace(a, score=0.7), replace(a, score=0.3), replace(b, score=1.0)]
    found = decode(HandMarkers(STORE, MODEL).encode([a, b], STAMP_NS, "cam", hypotheses=several))
    assert {m.ns for m in found} == set(NAMESPACES)
    drawn = [m for m in found if m.ns == "hand_hypotheses"]
    assert len({m.id for m in drawn}) == 3
    alpha = [m.color.a for m in drawn]
    assert 1.0 > alpha[2] > alpha[0] > alpha[1] > 0.0
    xyz = np.array([[p.x, p.y, p.z] for p in drawn[1].points]).reshape(NUM_FACES, 3, 3)
    np.testing.assert_array_equal(xyz, a.vertices_m[MODEL.faces])


@pytest.mark.parametrize("side", list(Side))
def test_markers_hold_mesh_bones_and_keypoints(side):
    hand = sample_hand(side, track_id=5)
    mesh, bones, spheres, label = decode(HandMarkers(STORE, MODEL).encode([hand], STAMP_NS, "cam"))
    assert [m.type for m in (mesh, bones, spheres)] == [TRIANGLE_LIST, LINE_LIST, SPHERE_LIST]
    assert len({m.ns for m in (mesh, bones, spheres, label)}) == 4
    for marker in (mesh, bones, spheres, label):
        assert marker.id == 5
        assert marker.action == ADD
        assert marker.header.frame_id == "cam"
        assert marker.header.stamp.nanosec == 123_456_789
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (0, 500_000_000)
        assert marker.pose.orientation.w == 1.0
        assert (marker.scale.z if marker is label else marker.scale.x) > 0.0
        assert marker.color.a == 1.0
        assert len(marker.colors) in (0, len(marker.points))
    xyz = np.array([[p.x, p.y, p.z] for p in mesh.points]).reshape(NUM_FACES, 3, 3)
    faces = MODEL.faces if side is Side.RIGHT else MODEL.faces[:, ::-1]
    np.testing.assert_array_equal(xyz, hand.vertices_m[faces])
    assert mesh.colors == []
    last = bones.points[-2:]
    tip = KEYPOINT_NAMES.index("little_tip")
    np.testing.assert_array_equal([last[1].x, last[1].y, last[1].z], hand.keypoints_m[tip])
    np.testing.assert_array_equal([last[0].x, last[0].y, last[0].z], hand.keypoints_m[tip - 1])
    assert len(bones.points) == 40
    assert len(spheres.points) == 21


@pytest.mark.parametrize(
    ("t", "text"),
    [((0.3, 0.0, 0.4), "0.50 m"), ((0.0, 0.0, 0.005), "0.01 m"), ((9, 9, 9), "9.99 m")],
)
@pytest.mark.parametrize("side", list(Side))
def test_label_says_side_and_distance_above_the_hand(side, t, text):
    T = np.eye(4)
    T[:3, 3] = t
    hand = sample_hand(side, T_camera_wrist=T)
    label = decode(HandMarkers(STORE, MODEL).encode([hand], STAMP_NS, "cam"))[3]
    assert label.type == TEXT_VIEW_FACING
    assert label.text == f"{side.name.lower()} {text}"
    place = label.pose.position
    highest = hand.keypoints_m[hand.keypoints_m[:, 1].argmin()]
    np.testing.assert_allclose([place.x, place.z], highest[[0, 2]])
    assert highest[1] - 0.1 < place.y < highest[1]  # y points down


def test_deletion_names_the_same_namespaces_and_ids():
    markers = HandMarkers(STORE, MODEL)
    drawn = decode(markers.encode(hands_of(Side.LEFT, Side.RIGHT), STAMP_NS, "cam"))
    deleted = decode(markers.encode_deletion([10, 11], STAMP_NS, "cam"))
    assert {(m.ns, m.id) for m in deleted} == {(m.ns, m.id) for m in drawn}
    assert {m.action for m in deleted} == {DELETE}
    assert {m.header.frame_id for m in deleted} == {"cam"}
    assert all(m.points == [] for m in deleted)
