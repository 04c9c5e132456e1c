import numpy as np
import pytest
from hand_samples import NUM_VERTICES, sample_hand

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import Side
from hand_mesh_ros.viewer.overlay import draw_overlay
from hand_mesh_ros.viewer.palette import FINGER_RGB, KEYPOINT_RGB, SIDE_RGB

CAMERA = Camera(320, 240, np.array([[200.0, 0, 160], [0, 200, 120], [0, 0, 1]]))
GREY = np.full((240, 320, 3), 100, np.uint8)
# Seen from the camera (x right, y down), 0 1 2 is clockwise: it faces the camera, so for a
# camera looking along +z its counter-clockwise order is 0 2 1.
FACING = np.array([[0, 2, 1]], np.int32)
FAR_AWAY_PX = np.array([300.0, 230, 310, 235])


def triangle(side=Side.RIGHT, *, depth_m=1.0, center_px=(160, 120), size_px=40, **changes):
    """A hand whose mesh is one triangle, and whose keypoints lie behind the camera."""
    offsets = np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]]) * size_px
    pixels = offsets + center_px
    vertices = np.zeros((NUM_VERTICES, 3))
    vertices[:3, :2] = (pixels - [160, 120]) / 200.0 * depth_m
    vertices[:, 2] = depth_m
    T = np.eye(4)
    T[2, 3] = depth_m
    values = {
        "vertices_m": vertices,
        "keypoints_m": np.full((21, 3), -1.0),
        "T_camera_wrist": T,
        "box_px": FAR_AWAY_PX,
        **changes,
    }
    return sample_hand(side, **values)


def test_the_mesh_is_blended_where_it_projects_and_nowhere_else():
    picture = draw_overlay(GREY, [triangle()], CAMERA, FACING)
    # Facing the camera squarely it has its full colour, at an opacity of 0.6.
    expected = 0.6 * np.array(SIDE_RGB[Side.RIGHT]) + 0.4 * 100
    assert np.abs(picture[115, 160].astype(int) - expected).max() <= 2
    for x, y in ((160, 75), (115, 120), (205, 120), (160, 165)):
        assert (picture[y, x] == 100).all(), (x, y)
    assert (GREY == 100).all()  # the input is left alone


def test_faces_that_look_away_are_not_drawn_and_left_hands_turn_theirs():
    away = draw_overlay(GREY, [triangle()], CAMERA, FACING[:, ::-1])
    assert (away[115, 160] == 100).all()
    left = draw_overlay(GREY, [triangle(Side.LEFT)], CAMERA, FACING[:, ::-1])
    assert not (left[115, 160] == 100).all()
    assert int(left[115, 160, 2]) > int(left[115, 160, 0])  # sky blue


def test_a_slanted_face_is_darker():
    square = triangle()
    slanted_m = square.vertices_m.copy()
    slanted_m[2] *= 1.5  # same pixels, farther away
    slanted = triangle(vertices_m=slanted_m)
    bright = draw_overlay(GREY, [square], CAMERA, FACING)[115, 160, 0]
    dark = draw_overlay(GREY, [slanted], CAMERA, FACING)[115, 160, 0]
    assert int(dark) < int(bright) - 20


@pytest.mark.parametrize("near_first", [True, False])
def test_the_nearer_hand_covers_the_farther_one(near_first):
    near, far = triangle(Side.LEFT, depth_m=0.5), triangle(Side.RIGHT, depth_m=1.0)
    faces = np.concatenate([FACING, FACING[:, ::-1]])
    both = draw_overlay(GREY, [near, far] if near_first else [far, near], CAMERA, faces)
    over = 0.6 * np.array(SIDE_RGB[Side.RIGHT]) + 0.4 * 100
    expected = 0.6 * np.array(SIDE_RGB[Side.LEFT]) + 0.4 * over
    assert np.abs(both[115, 160].astype(int) - expected).max() <= 3


def test_keypoints_have_their_fingers_colour():
    keypoints_px = np.stack([np.arange(21) * 10 + 60, np.arange(21) % 2 * 40 + 100], axis=1)
    rays = np.column_stack([(keypoints_px - [160, 120]) / 200.0, np.ones(21)])
    hand = triangle(center_px=(-500, -500), keypoints_m=0.7 * rays)
    picture = draw_overlay(GREY, [hand], CAMERA, FACING)
    for (x, y), color in zip(keypoints_px, KEYPOINT_RGB, strict=True):
        np.testing.assert_array_equal(picture[y, x], color)
    assert KEYPOINT_RGB[4] == FINGER_RGB[0]
    assert KEYPOINT_RGB[20] == FINGER_RGB[4]


def test_the_label_is_inside_the_image_wherever_the_box_is():
    for box in ([0, 0, 5, 5], [310, 0, 320, 20], [-50, 230, 10, 240]):
        hand = triangle(center_px=(-500, -500), box_px=np.array(box, float))
        picture = draw_overlay(GREY, [hand], CAMERA, FACING)
        written = (picture != 100).any(axis=2)
        assert written.sum() > 200
        assert not written[:, 0].all()


@pytest.mark.parametrize(
    "hand",
    [
        triangle(depth_m=-1.0),
        triangle(center_px=(5000, 5000)),
        triangle(center_px=(1e9, 0), size_px=1e8),
    ],
)
def test_what_the_camera_cannot_see_is_left_out(hand):
    picture = draw_overlay(GREY, [hand], CAMERA, FACING)
    label = np.s_[180:, 200:]
    picture[label] = 100
    assert (picture == 100).all()


def test_a_triangle_larger_than_the_image_covers_it():
    picture = draw_overlay(GREY, [triangle(size_px=3000)], CAMERA, FACING)
    assert (picture[10:150, 10:310] != 100).any(axis=2).all()
