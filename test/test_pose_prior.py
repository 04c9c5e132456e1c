"""The pose prior: within the limits, not through itself, touching where it should, seen whole."""

import numpy as np
import pytest
from mesh_inside import mesh_depth_m, winding_number

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS
from hand_mesh_ros.hand_models import pose_prior
from hand_mesh_ros.hand_models.gestures import GESTURES, angles_from_bends
from hand_mesh_ros.hand_models.hand_contacts import closest_on_segments
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.pose_families import FAMILIES
from hand_mesh_ros.hand_models.pose_prior import DEEPEST_M, FAMILY_NAMES, PosePrior
from hand_mesh_ros.hand_models.random_views import random_rotations
from hand_mesh_ros.hand_models.skeleton_batch import pose_skeletons
from hand_mesh_ros.hand_models.touch import stop_at_palm

NUM = 4000


@pytest.fixture(scope="module")
def prior():
    return PosePrior(load_open_hand())


@pytest.fixture(scope="module")
def samples(prior):
    return prior.sample(NUM, np.random.default_rng(11))


def vertices_m(prior, angles_rad, shape):
    """(V, 3) m of one hand, hand frame."""
    return prior.model.pose_rotations(prior.anatomy.rotations(angles_rad), shape).vertices_m


# What it is built of.


def test_skeletons_agree_with_the_hand_model(prior):
    rng = np.random.default_rng(0)
    angles = rng.uniform(prior.anatomy.lower_rad, prior.anatomy.upper_rad, (6, 21))
    shape = rng.standard_normal((6, 10))
    posed = pose_skeletons(prior.model, prior.anatomy, angles, shape)
    for i in range(6):
        hand = prior.model.pose_rotations(prior.anatomy.rotations(angles[i]), shape[i])
        np.testing.assert_allclose(posed.joints_m[i], hand.joints_m, atol=1e-12)
        np.testing.assert_allclose(posed.R_joints[i], hand.R_joints, atol=1e-12)


def test_rotations_of_samples_pose_the_hand_model(prior, samples):
    rotations = samples.rotations(prior.anatomy)
    for i in range(5):
        local = prior.anatomy.rotations(samples.angles_rad[i])
        local[0] = samples.R_camera_hand[i]
        np.testing.assert_allclose(rotations[i], local, atol=1e-12)


def test_axes_are_what_the_angles_turn_about(prior):
    rng = np.random.default_rng(1)
    anatomy = prior.anatomy
    angles, shape = rng.normal(0.3, 0.3, (1, 21)), np.zeros((1, 10))
    before = pose_skeletons(prior.model, anatomy, angles, shape)
    step = 1e-6
    tip_of_angle = np.array([FINGER_JOINTS[name.split("_")[0]][-1] for name in anatomy.names])
    for d, tip in enumerate(tip_of_angle):
        moved = angles.copy()
        moved[0, d] += step
        after = pose_skeletons(prior.model, anatomy, moved, shape)
        arm = before.joints_m[0, tip] - before.joints_m[0, anatomy.joint[d]]
        expected = np.cross(before.axes[0, d], arm)
        found = (after.joints_m[0, tip] - before.joints_m[0, tip]) / step
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_closest_points_of_segments_agree_with_trying_all():
    rng = np.random.default_rng(2)
    a, b, c, d = rng.normal(0.0, 0.03, (4, 40, 3))
    d[:5] = c[:5] + (b[:5] - a[:5])  # parallel ones
    s, t, distance = closest_on_segments(a, b, c, d)
    at = np.linspace(0.0, 1.0, 401)
    first = a[:, None] + at[:, None] * (b - a)[:, None]
    second = c[:, None] + at[:, None] * (d - c)[:, None]
    apart = np.linalg.norm(first[:, :, None] - second[:, None], axis=3).min((1, 2))
    assert (distance <= apart + 1e-9).all()
    np.testing.assert_allclose(distance, apart, atol=3e-4)
    gap = (a + s[:, None] * (b - a)) - (c + t[:, None] * (d - c))
    np.testing.assert_allclose(np.linalg.norm(gap, axis=1), distance, atol=1e-12)


def test_capsules_lie_in_the_flesh(prior):
    """Radii of the template: skin lies on them, within a millimetre or two."""
    capsules, model = prior.capsules, prior.model
    template = model.template_m - model.joint_template_m[0]
    joints = model.joints_at_rest(np.zeros(10))
    ends = joints[capsules.joint][:, None] + capsules.end_m[:, :, :3]
    owner = model.skinning_weights.argmax(1)
    for c in range(15):
        skin = template[owner == capsules.joint[c]]
        a, b = ends[c]
        place = (skin - a) @ (b - a) / ((b - a) @ (b - a))
        skin, place = skin[(place > 0) & (place < 1)], place[(place > 0) & (place < 1)]
        radius = capsules.end_m[c, 0, 3] * (1 - place) + capsules.end_m[c, 1, 3] * place
        off = np.linalg.norm(skin - a - place[:, None] * (b - a), axis=1) - radius
        assert abs(np.mean(off)) < 0.001, c
        assert np.std(off) < 0.0018, c


def test_flat_hands_of_all_shapes_do_not_touch_themselves(prior):
    shape = np.random.default_rng(3).standard_normal((500, 10))
    angles = np.tile(prior.anatomy.rest_rad, (500, 1))
    assert prior.depth_m(angles, shape).max() < 0.003


def test_winding_number_of_a_tetrahedron():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    asked = np.array([[0.2, 0.2, 0.2], [0.5, 0.5, 0.5], [-0.1, 0.2, 0.2]])
    np.testing.assert_allclose(winding_number(asked, corners, faces), [1, 0, 0], atol=1e-9)


def test_capsules_tell_what_the_mesh_tells(prior):
    """On random poses, many of which go through themselves."""
    rng = np.random.default_rng(4)
    anatomy, num = prior.anatomy, 80
    angles = np.clip(
        rng.normal(anatomy.mean_rad + 0.25, 1.1 * anatomy.std_rad, (num, 21)),
        anatomy.lower_rad,
        anatomy.upper_rad,
    )
    shape = rng.standard_normal((num, 10))
    by_capsules = prior.depth_m(angles, shape)
    by_mesh = np.array(
        [
            mesh_depth_m(prior.model, vertices_m(prior, a, s))
            for a, s in zip(angles, shape, strict=True)
        ]
    )
    assert (by_mesh > 0.004).sum() > 10
    assert np.corrcoef(by_capsules, by_mesh)[0, 1] > 0.8
    assert np.mean(np.abs(by_capsules - by_mesh)) < 0.002
    # What the capsules let pass, the mesh lets pass, but for a millimetre or two.
    assert by_mesh[by_capsules < DEEPEST_M].max() < DEEPEST_M + 0.002


def test_bent_fingers_stop_at_the_palm(prior):
    names = ("fist", "thumb_up", "open", "relaxed")
    angles = np.array([angles_from_bends(prior.anatomy, GESTURES[n].bends) for n in names])
    shape = np.zeros((4, 10))
    assert (prior.depth_m(angles, shape)[:2] > 0.008).all()
    stopped = stop_at_palm(prior.model, prior.anatomy, prior.capsules, angles, shape)
    depth = prior.depth_m(stopped[1:], shape[1:])
    assert (depth < DEEPEST_M).all()
    # Still bent, and the others as they were.
    pip = [prior.anatomy.angle(f"{f}_pip_flexion") for f in FINGERS[1:]]
    assert (stopped[:2, pip] > np.radians(60)).all()
    np.testing.assert_array_equal(stopped[2:], angles[2:])


# Samples.


def test_angles_are_within_the_limits_and_use_them(prior, samples):
    lower, upper = prior.anatomy.lower_rad, prior.anatomy.upper_rad
    assert samples.angles_rad.shape == (NUM, 21)
    assert (samples.angles_rad >= lower).all()
    assert (samples.angles_rad <= upper).all()
    used = np.ptp(samples.angles_rad, axis=0) / (upper - lower)
    assert used.min() > 0.7


def test_joints_go_together(prior, samples):
    def between(a, b):
        i, j = prior.anatomy.angle(a), prior.anatomy.angle(b)
        return np.corrcoef(samples.angles_rad[:, i], samples.angles_rad[:, j])[0, 1]

    for finger in FINGERS[1:]:
        assert between(f"{finger}_pip_flexion", f"{finger}_dip_flexion") > 0.8
        assert between(f"{finger}_mcp_flexion", f"{finger}_pip_flexion") > 0.5
    near = between("middle_pip_flexion", "ring_pip_flexion")
    far = between("index_pip_flexion", "little_pip_flexion")
    assert near > far > 0.2


def test_no_hand_goes_deeper_into_itself_than_stated(prior, samples):
    depth = prior.depth_m(samples.angles_rad, samples.shape)
    assert depth.max() < DEEPEST_M
    # The bound is not kept by staying away from contact.
    assert (depth > 0.001).mean() > 0.2


def test_nor_does_its_mesh(prior, samples):
    by_mesh = [
        mesh_depth_m(prior.model, vertices_m(prior, samples.angles_rad[i], samples.shape[i]))
        for i in range(60)
    ]
    assert np.quantile(by_mesh, 0.95) < DEEPEST_M
    assert max(by_mesh) < DEEPEST_M + 0.002


@pytest.mark.parametrize("finger", FINGERS[1:])
def test_pinches_touch(prior, samples, finger):
    rows = samples.family == FAMILY_NAMES.index(f"pinch_{finger}")
    hand = pose_skeletons(prior.model, prior.anatomy, samples.angles_rad[rows], samples.shape[rows])
    overlap = prior.capsules.overlaps_m(hand, samples.shape[rows])
    tips = (prior.capsules.first == 2) & (prior.capsules.second == 3 * FINGERS.index(finger) + 2)
    pressed = overlap[:, tips]
    assert rows.sum() > 40
    assert pressed.min() > 0.0
    assert pressed.max() < DEEPEST_M


def test_pinches_touch_with_the_mesh_too(prior, samples):
    rows = np.flatnonzero(samples.family == FAMILY_NAMES.index("pinch_index"))[:30]
    owner = prior.model.skinning_weights.argmax(1)
    thumb, index = (owner == FINGER_JOINTS[f][-1] for f in ("thumb", "index"))
    for i in rows:
        skin = vertices_m(prior, samples.angles_rad[i], samples.shape[i])
        apart = np.linalg.norm(skin[thumb][:, None] - skin[index][None], axis=2).min()
        # Between vertices, which are 4 mm from each other.
        assert apart < 0.005


def test_every_family_occurs_in_its_share(samples):
    total = sum(family.share for family in FAMILIES.values())
    assert total == pytest.approx(1.0)
    found = np.bincount(samples.family, minlength=len(FAMILIES)) / NUM
    for name, share in zip(FAMILY_NAMES, found, strict=True):
        expected = FAMILIES[name].share
        assert abs(share - expected) < 4.5 * np.sqrt(expected / NUM), name


def test_all_subsets_of_fingers_are_counted():
    drawn = FAMILIES["counting"].draw(np.random.default_rng(5), 2000)
    stretched = drawn.bends[:, 0] < np.array([0.3, 0.5, 0.5, 0.5, 0.5])
    assert len(np.unique(stretched @ 2 ** np.arange(5))) == 32


def test_shapes_are_standard_normal(samples):
    assert samples.shape.shape == (NUM, 10)
    assert np.abs(samples.shape.mean(0)).max() < 4.5 / np.sqrt(NUM)
    np.testing.assert_allclose(np.cov(samples.shape.T), np.eye(10), atol=0.12)
    assert 0.0015 < np.mean(np.abs(samples.shape) > 3.0) < 0.0045


def test_views_are_uniform_over_all_rotations(samples):
    for R in (samples.R_camera_hand, random_rotations(NUM, np.random.default_rng(6))):
        np.testing.assert_allclose(
            R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (NUM, 1, 1)), atol=1e-9
        )
        np.testing.assert_allclose(np.linalg.det(R), 1.0)
        # Each column is uniform over the sphere: mean 0, second moments 1/3, fourth 1/5.
        np.testing.assert_allclose(R.mean(0), 0.0, atol=0.045)
        for column in R.transpose(2, 0, 1):
            np.testing.assert_allclose(column.T @ column / NUM, np.eye(3) / 3, atol=0.025)
            np.testing.assert_allclose((column**4).mean(0), 0.2, atol=0.02)
        # The angle of a uniform rotation has density (1 - cos) / pi, so its cosine's mean is -1/2.
        cosine = 0.5 * (np.trace(R, axis1=1, axis2=2) - 1.0)
        assert abs(cosine.mean() + 0.5) < 0.04


def test_every_hand_is_seen_whole_by_its_camera(prior, samples):
    for i in range(300):
        hand = vertices_m(prior, samples.angles_rad[i], samples.shape[i])
        points = hand @ samples.R_camera_hand[i].T + samples.t_camera_wrist[i]
        assert points[:, 2].min() > 0.15
        camera = samples.camera(i)
        pixels = camera.project(points)
        assert (pixels >= 0.0).all(), i
        assert (pixels <= [camera.width - 1, camera.height - 1]).all(), i


def test_cameras_and_places_differ(samples):
    focal = samples.K[:, 0, 0] / samples.size_px[:, 0]
    fov_deg = np.degrees(2.0 * np.arctan(0.5 / focal))
    assert fov_deg.min() < 40
    assert fov_deg.max() > 95
    z = samples.t_camera_wrist[:, 2]
    assert np.quantile(z, 0.05) < 0.4
    assert np.quantile(z, 0.95) > 1.0
    centre = samples.K[:, :2, 2] - 0.5 * (samples.size_px - 1)
    assert 0.01 < (centre / samples.size_px).std() < 0.03
    # Hands come to all quarters of the image.
    side = np.sign(samples.t_camera_wrist[:, :2])
    assert np.abs(side.mean(0)).max() < 0.06


def test_a_seed_decides_everything(prior):
    one, same, other = (prior.sample(60, np.random.default_rng(s)) for s in (1, 1, 2))
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(same, name))
        assert not np.array_equal(values, getattr(other, name))


def test_a_hand_that_cannot_take_its_pose_takes_another(prior, monkeypatch):
    def drawn(family, shape, rng):
        return np.zeros((len(family), 21)), family != 0

    monkeypatch.setattr(prior, "_drawn", drawn)
    family = np.zeros(50, int)
    prior._angles(family, np.zeros((50, 10)), np.random.default_rng(0))
    assert (family > 0).all()


def test_a_model_that_fits_no_pose_is_named(prior, monkeypatch):
    monkeypatch.setattr(pose_prior, "_MOST_ATTEMPTS", 3)
    monkeypatch.setattr(prior, "depth_m", lambda angles, shape: np.ones(len(angles)))
    with pytest.raises(RuntimeError, match=r"4 of 4 hands .*open_hand"):
        prior.sample(4, np.random.default_rng(0))
