"""Spirals on a grid whose neighbours are known, and on the hand."""

import numpy as np
import pytest
from test_topology import grid

from hand_mesh_ros.hand_models.mesh_levels import mesh_levels
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.spirals import (
    level_spirals,
    region_spirals,
    spiral_indices,
    vertex_fans,
)

EAST = np.array([1.0, 0.0, 0.0])
N = 9
CENTRE = 4 * N + 4
RIGHT = load_open_hand()
LEFT = RIGHT.mirrored()


def neighbours(faces: np.ndarray) -> set[tuple[int, int]]:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
    return {(a, b) for a, b in edges} | {(b, a) for a, b in edges}


def test_first_ring_on_a_grid():
    # The diagonals of the grid's cells run from its lower right to its upper left.
    vertices, faces = grid(N)
    spiral = spiral_indices(vertices, faces, 7, start_direction=EAST)[CENTRE]
    east, north = 1, N
    around = [east, north, north - east, -east, -north, east - north]
    assert (spiral - CENTRE).tolist() == [0, *around]


def test_second_ring_goes_on_in_the_same_sense():
    vertices, faces = grid(N)
    spiral = spiral_indices(vertices, faces, 19, start_direction=EAST)[CENTRE]
    outer = vertices[spiral[7:]] - vertices[CENTRE]
    assert len({*spiral.tolist()}) == 19
    # Twelve vertices once around: steps of 14 to 46 degrees, all counter-clockwise, one turn less
    # the last step.
    angle = np.unwrap(np.arctan2(outer[:, 1], outer[:, 0]))
    assert np.diff(angle).min() > np.radians(10.0)
    assert angle[-1] - angle[0] == pytest.approx(2.0 * np.pi, abs=np.radians(60.0))


def test_faces_turned_round_turn_the_spiral():
    vertices, faces = grid(N)
    ahead = spiral_indices(vertices, faces, 7, start_direction=EAST)[CENTRE]
    back = spiral_indices(vertices, faces[:, ::-1], 7, start_direction=EAST)[CENTRE]
    assert back.tolist() == [CENTRE, ahead[1], *ahead[:1:-1]]


def test_start_direction_rotates_the_ring():
    vertices, faces = grid(N)
    ahead = spiral_indices(vertices, faces, 7, start_direction=EAST)[CENTRE]
    west = spiral_indices(vertices, faces, 7, start_direction=-EAST)[CENTRE]
    assert west.tolist() == [CENTRE, *ahead[4:], *ahead[1:4]]


@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation_takes_every_so_many_th(dilation):
    vertices, faces = grid(N)
    plain = spiral_indices(vertices, faces, 5 * dilation, start_direction=EAST)
    dilated = spiral_indices(vertices, faces, 5, dilation=dilation, start_direction=EAST)
    assert np.array_equal(dilated, plain[:, ::dilation])


def test_a_corner_walks_inwards_and_a_small_mesh_is_filled_with_the_vertex_itself():
    vertices, faces = grid(2)
    spirals = spiral_indices(vertices, faces, 6, start_direction=EAST)
    assert spirals[0].tolist() == [0, 1, 2, 3, 0, 0]
    # East of vertex 3 is nothing; north to south, vertex 1 lies less to the west than vertex 2.
    assert spirals[3].tolist() == [3, 1, 2, 0, 3, 3]
    assert np.array_equal(spirals[:, 4], np.arange(4))


@pytest.mark.parametrize("hand", [RIGHT, LEFT], ids=["right", "left"])
def test_on_every_level_of_the_hand(hand):
    levels = mesh_levels(hand)
    for vertices, faces, spirals in zip(
        levels.vertices_m, levels.faces, level_spirals(hand, 9), strict=True
    ):
        assert np.array_equal(spirals[:, 0], np.arange(len(vertices)))
        assert all(len(set(s)) == 9 for s in spirals.tolist()), "a vertex comes twice"
        joined, fans = neighbours(faces), vertex_fans(faces, len(vertices))
        turned = []
        for v, fan in enumerate(fans):
            ring = spirals[v, 1 : 1 + min(len(fan), 8)]
            assert all((v, int(w)) in joined for w in ring)
            # Signed area of the ring seen along the outward normal: positive if counter-clockwise.
            corners = vertices[fan] - vertices[v]
            normal = np.cross(corners[:-1], corners[1:]).sum(0)
            edges = vertices[ring] - vertices[v]
            turned.append(np.cross(edges[:-1], edges[1:]) @ normal)
        assert np.mean(np.concatenate(turned) > 0.0) > 0.85


def test_the_mirrored_hand_has_the_mirrored_spirals():
    left, right = level_spirals(LEFT, 9)[0], level_spirals(RIGHT, 9)[0]
    # Same ring, same start, seen in a mirror: the other way round.
    inner = [v for v, fan in enumerate(vertex_fans(RIGHT.faces, 778)) if len(fan) == 6]
    same_start = np.mean(left[inner, 1] == right[inner, 1])
    assert same_start > 0.95
    assert np.mean(left[inner, 2] == right[inner, 6]) > 0.8


def test_first_neighbour_lies_towards_the_wrist():
    hand = RIGHT
    first = level_spirals(hand, 9)[0][:, 1]
    step = hand.template_m[first] - hand.template_m
    fingers = hand.vertex_region > 1
    # A right hand has its fingers at -x, so the wrist lies at +x of nearly every finger vertex.
    assert np.mean(step[fingers, 0] > 0.0) > 0.97


def test_region_spirals_never_leave_their_finger():
    hand = RIGHT
    region = hand.vertex_region
    spirals = region_spirals(hand, 16, 3)
    assert (region[spirals] == region[:, None]).all()
    assert np.array_equal(spirals[:, 0], np.arange(778))
    assert all(len(set(s)) == 16 for s in spirals.tolist()), "no region is too small for this"
    # They reach farther than a plain spiral of the same length, which does leave.
    plain = level_spirals(hand, 16)[0]
    assert (region[plain] != region[:, None]).any()
    reach = [
        np.linalg.norm(hand.template_m[s] - hand.template_m[:, None], axis=2).max(1).mean()
        for s in (plain, spirals)
    ]
    assert reach[1] > 1.5 * reach[0]


def test_a_region_that_runs_out_is_filled_with_the_vertex_itself():
    vertices, faces = grid(N)
    region = np.zeros(N * N, int)
    region[[CENTRE, CENTRE + 1, CENTRE + 2]] = 1
    spirals = spiral_indices(vertices, faces, 5, start_direction=EAST, region=region)
    assert spirals[CENTRE].tolist() == [CENTRE, CENTRE + 1, CENTRE + 2, CENTRE, CENTRE]


def test_bad_input_is_refused():
    vertices, faces = grid(3)
    with pytest.raises(ValueError, match="length 0"):
        spiral_indices(vertices, faces, 0, start_direction=EAST)
    with pytest.raises(ValueError, match="two faces"):
        spiral_indices(vertices, np.concatenate([faces, faces[:1]]), 3, start_direction=EAST)
    with pytest.raises(ValueError, match="vertex 9 has no face"):
        vertex_fans(faces, 10)
    bow_tie = np.array([[0, 1, 2], [0, 3, 4]])
    with pytest.raises(ValueError, match=r"vertex 0: .* one fan"):
        vertex_fans(bow_tie, 5)
