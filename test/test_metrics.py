from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_mesh_ros.conventions import Side, mirror_points
from hand_mesh_ros.evaluation.hand_errors import HandErrors, Hands, hand_errors
from hand_mesh_ros.evaluation.metrics import (
    AUC_THRESHOLDS_M,
    auc,
    f_scores,
    hint_pck,
    mean_distance_m,
    nearest_distances_m,
    pa_error_m,
    pck_curve,
    procrustes,
    procrustes_aligned,
    scale_translation_aligned,
)
from hand_mesh_ros.evaluation.summary import joined, summarised
from hand_mesh_ros.evaluation.view_angle import view_angles_deg

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((21, 3))
NUM_VERTICES = 30


def true_hands(count: int = 4, **changes) -> Hands:
    """Random hands half a metre before the camera, in a topology of 30 vertices."""
    rng = np.random.default_rng(3)
    centre = np.array([0.05, -0.02, 0.5])
    return Hands(
        **{
            "keypoints_m": rng.normal(0.0, 0.05, (count, 21, 3)) + centre,
            "vertices_m": rng.normal(0.0, 0.05, (count, NUM_VERTICES, 3)) + centre,
            "hand_model": "mano",
            **changes,
        }
    )


def moved(hands: Hands, function) -> Hands:
    """The hands with a function applied to all their points."""
    assert hands.vertices_m is not None
    return replace(
        hands, keypoints_m=function(hands.keypoints_m), vertices_m=function(hands.vertices_m)
    )


def test_alignment_undoes_rotation_scale_and_shift():
    R = Rotation.random(random_state=1).as_matrix()
    moved = 0.3 * POINTS @ R.T + [1.0, -2.0, 3.0]
    assert procrustes_aligned(moved, POINTS) == pytest.approx(POINTS, abs=1e-12)
    assert pa_error_m(moved, POINTS) == pytest.approx(0.0, abs=1e-12)


def test_the_alignment_itself_is_the_inverse_of_what_was_done():
    R = Rotation.from_rotvec([0.3, -0.5, 1.0]).as_matrix()
    found = procrustes(2.0 * POINTS @ R.T + [1.0, 2.0, 3.0], POINTS)
    assert found.scale == pytest.approx(0.5)
    np.testing.assert_allclose(found.R, R.T, atol=1e-12)
    assert found.offset == pytest.approx(-0.5 * R.T @ [1.0, 2.0, 3.0])


def test_a_batch_is_aligned_hand_by_hand():
    points = RNG.standard_normal((5, 2, 21, 3))
    target = RNG.standard_normal((5, 2, 21, 3))
    whole = procrustes_aligned(points, target)
    for i in np.ndindex(5, 2):
        assert whole[i] == pytest.approx(procrustes_aligned(points[i], target[i]), abs=1e-12)


def test_a_mirrored_hand_is_not_forgiven():
    assert pa_error_m(POINTS * [-1.0, 1.0, 1.0], POINTS) > 0.3


def test_rotation_is_the_best_one_also_where_a_mirror_would_be_better():
    mirrored = POINTS * [-1.0, 1.0, 1.0]
    best, _ = Rotation.align_vectors(POINTS - POINTS.mean(0), mirrored - mirrored.mean(0))
    np.testing.assert_allclose(procrustes(mirrored, POINTS).R, best.as_matrix(), atol=1e-9)


def test_no_alignment_is_better():
    """The closed form is at a minimum: every small move of the aligned points is worse."""
    noisy = POINTS + 0.1 * RNG.standard_normal(POINTS.shape)
    aligned = procrustes_aligned(noisy, POINTS)
    best = ((aligned - POINTS) ** 2).sum()
    for k in range(3):
        for step in (-1e-3, 1e-3):
            turn = Rotation.from_rotvec(step * np.eye(3)[k]).as_matrix()
            assert ((aligned @ turn.T - POINTS) ** 2).sum() > best
            assert ((aligned + step * np.eye(3)[k] - POINTS) ** 2).sum() > best
        centre = aligned.mean(0)
    for factor in (0.999, 1.001):
        assert ((centre + factor * (aligned - centre) - POINTS) ** 2).sum() > best


def test_distances_by_hand():
    assert mean_distance_m(np.zeros((2, 3)), np.array([[3.0, 4.0, 0.0], [0, 0, 1]])) == 3.0


def test_a_single_point_cloud_without_extent_does_not_divide_by_zero():
    assert np.isfinite(procrustes_aligned(np.zeros((5, 3)), POINTS[:5])).all()
    assert np.isfinite(scale_translation_aligned(np.zeros((21, 3)), POINTS)).all()


def test_scale_and_translation_alignment_takes_palm_and_wrist_and_never_turns():
    scaled = 0.4 * POINTS + [1.0, -2.0, 3.0]
    assert scale_translation_aligned(scaled, POINTS) == pytest.approx(POINTS, abs=1e-12)
    quarter = Rotation.from_rotvec([0.0, 0.0, np.pi / 2]).as_matrix()
    turned = scale_translation_aligned(POINTS @ quarter.T, POINTS)
    assert turned - turned[0] == pytest.approx((POINTS - POINTS[0]) @ quarter.T)
    # Only the bone from the wrist to the root of the middle finger counts, here twice too long.
    stretched = POINTS.copy()
    stretched[9] = POINTS[0] + 2.0 * (POINTS[9] - POINTS[0])
    aligned = scale_translation_aligned(stretched, POINTS)
    assert aligned[9] == pytest.approx(POINTS[9])
    assert aligned[4] - aligned[0] == pytest.approx(0.5 * (POINTS[4] - POINTS[0]))


def test_nearest_distances_both_ways_by_hand():
    points = np.array([[0.0, 0, 0], [10.0, 0, 0]])
    target = np.array([[0.0, 3, 4], [0.0, 0, 1], [10.0, 0, 0]])
    to_target, to_point = nearest_distances_m(points, target)
    assert to_target.tolist() == [1.0, 0.0]
    assert to_point.tolist() == [5.0, 1.0, 0.0]


def test_f_score_by_hand():
    points = np.array([[0.0, 0, 0], [10.0, 0, 0]])
    target = np.array([[0.0, 3, 4], [0.0, 0, 1], [10.0, 0, 0], [10.0, 0, 9]])
    # Nearer than 2: both points, two of four targets. Harmonic mean of 1 and 1/2.
    # Nearer than 6: three of four targets. Nearer than 1: one point, one target; 1 is not < 1.
    scores = f_scores(points, target, (2.0, 6.0, 1.0, 0.0))
    assert scores == pytest.approx([2 / 3, 6 / 7, 2 * 0.5 * 0.25 / 0.75, 0.0])


def test_f_threshold_is_strict():
    assert f_scores(np.zeros((1, 3)), np.array([[0.0, 0, 0.25]]), (0.25, 0.26)).tolist() == [0, 1]


def test_auc_of_known_errors():
    assert auc(np.zeros(21)) == pytest.approx(1.0)
    assert auc(np.full(21, 0.2)) == 0.0
    # An error at the k-th of 100 thresholds: the curve is 1 from there on, after half a step.
    assert auc(np.array([AUC_THRESHOLDS_M[40]])) == pytest.approx((99 - 40 + 0.5) / 99)
    # PCK counts errors of exactly the threshold.
    assert pck_curve(np.array([0.05]))[-1] == 1.0


def test_auc_is_the_mean_of_the_keypoints_own_curves():
    """The benchmarks' definition, slowly: a curve and an area for each keypoint."""
    errors = RNG.uniform(0.0, 0.07, (13, 21))
    areas = []
    for k in range(21):
        curve = [np.mean(errors[:, k] <= t) for t in AUC_THRESHOLDS_M]
        trapezoids = 0.5 * (np.array(curve[1:]) + curve[:-1]) * (0.05 / 99)
        areas.append(trapezoids.sum() / 0.05)
    assert auc(errors).mean() == pytest.approx(np.mean(areas))


def test_hint_pck_by_hand():
    target = np.zeros((2, 21, 2))
    predicted = np.zeros((2, 21, 2))
    confidence = np.zeros((2, 21))
    confidence[:, :2] = 1.0  # keypoints 0 and 1 are labelled in both hands
    confidence[1, 2] = 0.6  # 2 in one of them
    confidence[0, 3] = 0.5  # not above 0.5: not labelled
    predicted[0, 0] = [3.0, 4.0]  # 5 px: exactly 0.05 of 100 px, a hit
    predicted[1, 0] = [6.0, 8.0]  # 10 px: 0.05 of 200 px, a hit
    predicted[1, 1] = [0.0, 10.1]  # beyond
    predicted[1, 2] = [50.0, 0.0]  # beyond
    predicted[0, 3] = [99.0, 0.0]
    sides = {"box_side_px": np.array([100.0, 200.0]), "confidence": confidence}
    # Rates 1, 1/2 and 0 of the three labelled keypoints: not 3 of 5 hits.
    assert hint_pck(predicted, target, **sides) == pytest.approx(0.5)
    assert hint_pck(predicted, target, threshold=0.1, **sides) == pytest.approx(2 / 3)
    sides["confidence"] = np.zeros((2, 21))
    assert hint_pck(predicted, target, **sides) is None


def test_a_perfect_answer_has_no_error():
    errors = hand_errors(true_hands(), true_hands())
    for name in ("pa_mpjpe_mm", "mpjpe_mm", "st_mpjpe_mm", "pa_mpvpe_mm", "mpvpe_mm"):
        assert getattr(errors, name) == pytest.approx(0.0, abs=1e-9), name
    for name in ("root_error_mm", "root_error_share", "cs_mpjpe_mm", "cs_mpvpe_mm"):
        assert getattr(errors, name) == pytest.approx(0.0, abs=1e-9), name
    for name in ("f_at_5mm", "f_at_15mm", "cs_auc", "cs_auc_vertices"):
        assert getattr(errors, name) == pytest.approx(1.0), name


def test_a_shifted_hand_is_wrong_in_camera_space_alone():
    true = true_hands()
    errors = hand_errors(moved(true, lambda p: p + np.array([0.003, 0.0, 0.004])), true)
    for name in ("root_error_mm", "cs_mpjpe_mm", "cs_mpvpe_mm"):
        assert getattr(errors, name) == pytest.approx(5.0), name
    distances = np.linalg.norm(true.keypoints_m[:, 0], axis=1)
    assert errors.root_error_share == pytest.approx(0.005 / distances)
    for name in ("mpjpe_mm", "mpvpe_mm", "st_mpjpe_mm", "pa_mpjpe_mm"):
        assert getattr(errors, name) == pytest.approx(0.0, abs=1e-9), name


def test_root_alignment_is_by_the_wrist_also_for_vertices():
    """Half turn about an axis through the wrist: distances by hand, none of it PA or root error."""
    true = true_hands()
    wrist = true.keypoints_m[:, :1]
    errors = hand_errors(moved(true, lambda p: wrist + (p - wrist) * [-1.0, -1.0, 1.0]), true)
    radius = 2e3 * np.linalg.norm((true.keypoints_m - wrist)[..., :2], axis=-1).mean(1)
    assert errors.mpjpe_mm == pytest.approx(radius)
    assert errors.st_mpjpe_mm == pytest.approx(radius)
    assert true.vertices_m is not None
    radius = 2e3 * np.linalg.norm((true.vertices_m - wrist)[..., :2], axis=-1).mean(1)
    assert errors.mpvpe_mm == pytest.approx(radius)
    assert errors.pa_mpjpe_mm == pytest.approx(0.0, abs=1e-9)
    assert errors.root_error_mm == pytest.approx(0.0, abs=1e-9)


def test_vertices_are_aligned_by_their_own_transform():
    """A mesh turned against its keypoints: PA-MPVPE does not see it."""
    true = true_hands()
    R = Rotation.from_rotvec([0.0, 0.4, 0.0]).as_matrix()
    assert true.vertices_m is not None
    errors = hand_errors(replace(true, vertices_m=true.vertices_m @ R.T), true)
    assert errors.pa_mpvpe_mm == pytest.approx(0.0, abs=1e-9)
    assert errors.f_at_5mm == pytest.approx(1.0)


def test_f_scores_are_of_aligned_vertices_at_5_and_15_mm():
    true = true_hands(3)
    noise = np.random.default_rng(5)
    noisy = moved(true, lambda p: 1.2 * p + noise.normal(0.0, 0.006, p.shape))
    errors = hand_errors(noisy, true)
    assert noisy.vertices_m is not None
    assert true.vertices_m is not None
    for i in range(3):
        aligned = procrustes_aligned(noisy.vertices_m[i], true.vertices_m[i])
        expected = f_scores(aligned, true.vertices_m[i], (0.005, 0.015))
        assert (errors.f_at_5mm[i], errors.f_at_15mm[i]) == pytest.approx(tuple(expected))
        assert 0.0 < expected[0] < 0.7 < expected[1]


def test_meshes_of_two_topologies_are_laid_together_by_keypoints_and_have_no_vertex_errors():
    true = true_hands()
    R = Rotation.from_rotvec([0.0, 0.4, 0.0]).as_matrix()
    other = moved(true, lambda p: 1.3 * p[:, ::-1] @ R.T if p.shape[1] == NUM_VERTICES else p)
    other = replace(other, keypoints_m=1.3 * true.keypoints_m @ R.T, hand_model="open_hand")
    errors = hand_errors(other, true)  # as many vertices, in another order
    assert errors.pa_mpvpe_mm is None
    assert errors.mpvpe_mm is None
    assert errors.cs_mpvpe_mm is None
    assert errors.auc_vertices is None
    assert errors.f_at_5mm == pytest.approx(1.0)
    unnamed = replace(true, hand_model=None)
    assert hand_errors(unnamed, unnamed).pa_mpvpe_mm is None


def test_root_relative_hands_have_no_camera_space_errors():
    errors = hand_errors(true_hands(in_camera_space=False), true_hands())
    assert errors.root_error_mm is None
    assert errors.cs_mpjpe_mm is None
    assert errors.cs_mpvpe_mm is None
    assert errors.cs_auc is None
    assert errors.pa_mpvpe_mm is not None


def test_batches_joined_equal_the_whole():
    true, noise = true_hands(6), np.random.default_rng(4)
    predicted = moved(true, lambda p: p + noise.normal(0.0, 0.004, p.shape))

    def part(hands, rows):
        return replace(
            hands, keypoints_m=hands.keypoints_m[rows], vertices_m=hands.vertices_m[rows]
        )

    rows = (slice(0, 2), slice(2, 6))
    whole = hand_errors(predicted, true)
    parts = joined([hand_errors(part(predicted, r), part(true, r)) for r in rows])
    assert len(parts) == 6
    for field in fields(HandErrors):
        assert getattr(parts, field.name) == pytest.approx(getattr(whole, field.name)), field.name
    assert summarised(parts).pa_mpvpe_mm == pytest.approx(whole.pa_mpvpe_mm.mean())


def test_summary_is_plain_means_under_stable_names():
    true = true_hands(3)
    further_m = np.array([0.01, 0.02, 0.06])[:, None, None] * [0.0, 0.0, 1.0]
    predicted = replace(true, keypoints_m=true.keypoints_m + further_m)
    report = summarised(hand_errors(predicted, true), missed=2).as_json()
    assert report["samples"] == 3
    assert report["missed"] == 2
    assert report["root_error_mm"] == pytest.approx(30.0)
    assert report["distributions"]["root_error_mm"]["median"] == pytest.approx(20.0)
    assert set(report) == {
        *("samples", "missed", "distributions"),
        *("pa_mpjpe_mm", "pa_mpvpe_mm", "mpjpe_mm", "mpvpe_mm", "st_mpjpe_mm"),
        *("root_error_mm", "root_error_share", "root_error_known_length_mm"),
        *("cs_mpjpe_mm", "cs_mpvpe_mm"),
        *("f_at_5mm", "f_at_15mm", "auc", "auc_vertices", "cs_auc", "cs_auc_vertices"),
    }


def test_what_cannot_be_measured_is_null_not_zero():
    true = true_hands(2, vertices_m=None, hand_model=None)
    report = summarised(hand_errors(true, true)).as_json()
    assert report["pa_mpvpe_mm"] is None
    assert report["f_at_5mm"] is None
    assert "f_at_5mm" not in report["distributions"]
    assert report["root_error_mm"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints_m": np.zeros((2, 20, 3))}, r"\(2, 20, 3\); expected \(B, 21, 3\)"),
        ({"vertices_m": np.zeros((3, 30, 3))}, r"expected \(4, V, 3\)"),
        ({"keypoints_m": np.full((4, 21, 3), np.nan)}, "hand 0 is not finite"),
    ],
)
def test_bad_hands_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        true_hands(**changes)


def test_unequal_numbers_of_hands_or_vertices_are_refused():
    with pytest.raises(ValueError, match="3 predicted hands, 4 true ones"):
        hand_errors(true_hands(3), true_hands(4))
    with pytest.raises(ValueError, match="both meshes are mano, but have 5 and 30"):
        hand_errors(true_hands(vertices_m=np.ones((4, 5, 3))), true_hands())
    with pytest.raises(ValueError, match="no hands"):
        joined([])


def test_view_angles_of_a_right_and_a_left_hand():
    # A right palm towards the camera, fingers up: the index finger is to the right in the image.
    palm = np.zeros((21, 3))
    palm[5], palm[17] = [0.03, -0.09, 0.0], [-0.03, -0.09, 0.0]
    palm += [0.0, 0.06, 0.5]  # the mean of the three points is on the optical axis
    assert view_angles_deg(palm, Side.RIGHT) == pytest.approx(0.0, abs=1e-4)
    assert view_angles_deg(palm, Side.LEFT) == pytest.approx(180.0, abs=1e-4)
    assert view_angles_deg(mirror_points(palm), Side.LEFT) == pytest.approx(0.0, abs=1e-4)
    centre = np.array([0.0, 0.0, 0.5])
    for degrees in (30.0, 90.0, 150.0):
        R = Rotation.from_rotvec([0.0, np.radians(degrees), 0.0]).as_matrix()
        turned = (palm - centre) @ R.T + centre
        both = np.stack([palm, turned])
        assert view_angles_deg(both, Side.RIGHT) == pytest.approx([0.0, degrees], abs=1e-4)
