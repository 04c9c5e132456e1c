from dataclasses import replace

import numpy as np
import pytest

from hand_mesh_ros.conventions import Side, mirror_axis_angle
from hand_mesh_ros.hand_models.anatomy import Anatomy
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle

RIGHT = load_open_hand()
ANATOMY = Anatomy.of(RIGHT)
ANGLES = JointAngles(RIGHT)


def random_angles(rng):
    return rng.uniform(ANATOMY.lower_rad, ANATOMY.upper_rad)


@pytest.mark.parametrize("seed", range(20))
def test_angles_come_back_exactly(seed):
    rng = np.random.default_rng(seed)
    angles = random_angles(rng)
    R = rotation_from_axis_angle(rng.normal(0.0, 1.5, 3))  # of the whole hand: no joint's angle
    pose = ANATOMY.pose(angles, R)
    np.testing.assert_allclose(ANGLES.of(pose, Side.RIGHT), angles, atol=1e-9)
    mirrored = mirror_axis_angle(pose)
    np.testing.assert_allclose(ANGLES.of(mirrored, Side.LEFT), angles, atol=1e-9)


def test_a_left_hand_read_as_a_right_one_is_wrong():
    pose = mirror_axis_angle(ANATOMY.pose(ANATOMY.mean_rad, np.eye(3)))
    assert np.abs(ANGLES.of(pose, Side.RIGHT) - ANATOMY.mean_rad).max() > 0.2


def test_one_bent_joint_shows_in_its_own_name_alone():
    rest = ANGLES.of(np.zeros(48), Side.LEFT)
    np.testing.assert_allclose(rest, ANATOMY.rest_rad, atol=1e-12)
    for name in ANATOMY.names:
        angles = ANATOMY.rest_rad.copy()
        angles[ANATOMY.angle(name)] += 0.4
        pose = mirror_axis_angle(ANATOMY.pose(angles, np.eye(3)))
        change = ANGLES.of(pose, Side.LEFT) - rest
        assert change[ANGLES.names.index(name)] == pytest.approx(0.4)
        assert np.abs(np.delete(change, ANGLES.names.index(name))).max() < 1e-9


def test_a_twisted_finger_gets_the_nearest_angles():
    """No other angles near them come closer to the pose's rotations."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        local = ANATOMY.rotations(random_angles(rng))
        local = local @ rotation_from_axis_angle(rng.normal(0.0, 0.15, (16, 3)))
        angles = ANGLES.of(axis_angle_from_rotation(local).reshape(48), Side.RIGHT)

        def misfit(a, local=local):
            return ((ANATOMY.rotations(a)[1:] - local[1:]) ** 2).sum()

        best = misfit(angles)
        for i in range(21):
            for step in (-0.01, 0.01):
                moved = angles.copy()
                moved[i] += step
                assert misfit(moved) > best
        # The thumb's saddle joint has all three angles.
        np.testing.assert_allclose(ANATOMY.rotations(angles)[13], local[13], atol=1e-9)


def test_a_models_mean_pose_is_part_of_the_angles():
    rng = np.random.default_rng(4)
    model = replace(RIGHT, pose_mean=rng.normal(0.0, 0.2, 45))
    for side, of_side in ((Side.RIGHT, model), (Side.LEFT, model.mirrored())):
        angles = random_angles(rng)
        pose = ANATOMY.pose(angles, np.eye(3))
        if side is Side.LEFT:
            pose = mirror_axis_angle(pose)
        published = of_side.pose_of(rotation_from_axis_angle(pose.reshape(16, 3)))
        np.testing.assert_allclose(JointAngles(model).of(published, side), angles, atol=1e-9)
        assert np.abs(ANGLES.of(published, side) - angles).max() > 0.05


def test_many_hands_at_once_are_each_on_their_own():
    rng = np.random.default_rng(7)
    poses = [rng.normal(0.0, 0.4, 48) for _ in range(3)]
    sides = [Side.LEFT, Side.RIGHT, Side.LEFT]
    many = ANGLES.of_many(list(zip(poses, sides, strict=True)))
    for got, pose, side in zip(many, poses, sides, strict=True):
        np.testing.assert_allclose(got, ANGLES.of(pose, side), atol=1e-12)


def test_a_left_model_serves_as_well():
    pose = ANATOMY.pose(ANATOMY.mean_rad, np.eye(3))
    got = JointAngles(RIGHT.mirrored()).of(pose, Side.RIGHT)
    np.testing.assert_allclose(got, ANATOMY.mean_rad, atol=1e-9)
