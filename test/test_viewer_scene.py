"""What is drawn in the 3D page, seen through the scene that the browser gets."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from hand_samples import sample_hand, small_hand_model
from page_client import PageClient
from test_viewer_feeds import array_of, snapshot_of, turned_hand

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.conventions import BONES, Side
from hand_mesh_ros.grasp import T_camera_grasp
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.viewer.hand_drawing import TRAIL_NS, Look, painted_points
from hand_mesh_ros.viewer.hand_scene import LOOKED_AT_M, HandScene
from hand_mesh_ros.viewer.live_feed import LiveFeed
from hand_mesh_ros.viewer.page import Page
from hand_mesh_ros.viewer.palette import UNCERTAIN_M, uncertainty_rgb
from hand_mesh_ros.viewer.panel import Panel
from hand_mesh_ros.viewer.snapshot import decode_topology

viser = pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")

TOPOLOGY = decode_topology(STORE, STORE.encode(messages.hand_topology(STORE, small_hand_model())))
BOTH = (Side.LEFT, Side.RIGHT)


@pytest.fixture(scope="module")
def server():
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield server
    server.stop()


@pytest.fixture
def scene(server):
    server.scene.reset()
    return HandScene(server)


@pytest.fixture
def node(server):
    """A scene node below the camera's, by name."""

    def find(name):
        handle = server.scene.get_handle_by_name(f"/camera/{name}" if name else "/camera")
        assert handle is not None, f"there is no {name}"
        return handle

    return find


def show(scene, *hands, look=None, sides=BOTH, named=True, stamp_ns=1):
    snapshot = replace(snapshot_of(*hands), stamp_ns=stamp_ns)
    scene.show_hands(snapshot, TOPOLOGY, look or Look(), sides=sides, named=named)


def test_everything_is_where_the_message_says(scene, node):
    hand = turned_hand()
    show(scene, hand)
    root_m = hand.T_camera_wrist[:3, 3]
    np.testing.assert_allclose(node("right_0").position, root_m)
    mesh = node("right_0/mesh")
    np.testing.assert_allclose(mesh.vertices + root_m, hand.vertices_m, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, TOPOLOGY.right_faces)
    bones = node("right_0/bones").points + root_m
    for bone, (parent, child) in zip(bones, BONES, strict=True):
        np.testing.assert_allclose(bone, hand.keypoints_m[[parent, child]], atol=1e-6)
    T = T_camera_grasp(hand.keypoints_m)
    assert T is not None
    grasp = node("right_0/grasp")
    np.testing.assert_allclose(grasp.position + root_m, T[:3, 3], atol=1e-6)
    x, y, z, w = messages.quaternion_xyzw(T[:3, :3])
    np.testing.assert_allclose(grasp.wxyz, (w, x, y, z), atol=1e-5)
    assert node("right_0/label").text == "right 0.64 m"


def test_a_left_hand_is_not_inside_out(scene, node):
    show(scene, sample_hand(Side.LEFT))
    np.testing.assert_array_equal(node("left_0/mesh").faces, TOPOLOGY.right_faces[:, ::-1])


def test_hands_that_are_gone_or_not_wanted_vanish(scene, node):
    right, left = sample_hand(), sample_hand(Side.LEFT, track_id=8)
    show(scene, right, left)
    assert node("right_0").visible
    assert node("left_0").visible
    show(scene, left)
    assert not node("right_0").visible
    show(scene, right, left, sides=(Side.RIGHT,))
    assert node("right_0").visible
    assert not node("left_0").visible
    scene.hide_hands()
    assert not node("right_0").visible


def test_two_hands_of_one_side_are_both_drawn(scene, node):
    show(scene, sample_hand(track_id=9, seed=1), sample_hand(track_id=4, seed=2))
    assert node("right_0").visible
    assert node("right_1").visible


def test_a_mesh_without_faces_is_not_drawn(scene, node):
    show(scene, sample_hand())
    assert node("right_0/mesh").visible
    show(scene, sample_hand(hand_model="another"))
    assert not node("right_0/mesh").visible
    assert node("right_0/bones").visible


def test_look(scene, node):
    bare = Look(opacity=0.5, mesh=False, skeleton=False, frames=False, trail=False)
    show(scene, sample_hand())
    assert node("right_0/mesh").opacity is None
    show(scene, sample_hand(), look=bare, named=False)
    assert node("right_0/mesh").opacity == 0.5
    for part in ("mesh", "bones", "keypoints", "root", "grasp", "trail", "label"):
        assert not node(f"right_0/{part}").visible, part


def test_colours_by_uncertainty_and_texture(scene, node, server):
    plain = sample_hand()
    show(scene, plain, look=Look(colours="uncertainty"))
    assert server.scene.get_handle_by_name("/camera/right_0/paint") is None, "nothing is known"
    stddev_m = np.linspace(0.0, UNCERTAIN_M, 60)
    rgb = np.random.default_rng(0).integers(0, 256, (60, 3), np.uint8)
    hand = replace(
        plain,
        vertex_stddev_m=stddev_m,
        vertex_colors=rgb,
        keypoint_stddev_m=np.full(21, 2 * UNCERTAIN_M),
    )
    show(scene, hand, look=Look(colours="uncertainty"))
    painted = node("right_0/paint").colors[:60].astype(int)
    np.testing.assert_allclose(painted, uncertainty_rgb(stddev_m), atol=3)  # float32 on the way
    last = uncertainty_rgb(np.array([UNCERTAIN_M]))[0]
    np.testing.assert_array_equal(node("right_0/keypoints").colors, np.tile(last, (21, 1)))
    show(scene, hand, look=Look(colours="texture"))
    np.testing.assert_array_equal(node("right_0/paint").colors[:60], rgb)
    show(scene, hand)
    assert not node("right_0/paint").visible
    assert len(np.unique(node("right_0/keypoints").colors, axis=0)) == 6  # wrist and fingers


def test_the_uncertainty_scale_goes_from_blue_to_yellow_and_ends():
    blue, yellow, beyond = uncertainty_rgb(np.array([0.0, UNCERTAIN_M, 1.0])).astype(int)
    assert blue[2] > blue[0] + 30
    assert yellow[0] > yellow[2] + 30
    np.testing.assert_array_equal(beyond, yellow)


def test_painted_points_are_vertices_and_middles_of_faces():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0]], np.float32)
    rgb = np.array([[30, 0, 0], [0, 60, 0], [0, 0, 90]], np.uint8)
    points, colors = painted_points(vertices, np.array([[0, 1, 2]]), rgb)
    np.testing.assert_allclose(points[3], [1, 1, 0])
    np.testing.assert_array_equal(colors[3], [10, 20, 30])


def test_the_trail_is_as_old_as_said_and_belongs_to_one_hand(scene, node):
    def at(x_m, track_id=7):
        T = np.eye(4)
        T[:3, 3] = x_m, 0.0, 0.5
        return sample_hand(T_camera_wrist=T, track_id=track_id)

    step_ns = 100_000_000
    for i in range(40):
        show(scene, at(0.01 * i), stamp_ns=1 + i * step_ns)
    trail = node("right_0/trail")
    assert trail.visible
    assert len(trail.points) == TRAIL_NS // step_ns
    starts_m = trail.points[:, 0, 0] + 0.39
    np.testing.assert_allclose(starts_m, 0.01 * np.arange(19, 39), atol=1e-6)
    show(scene, at(0.4, track_id=8), stamp_ns=1 + 40 * step_ns)
    assert not trail.visible, "another hand goes on with this one's trail"
    show(scene, at(0.0, track_id=8), stamp_ns=5)
    show(scene, at(0.1, track_id=8), stamp_ns=6)
    assert len(trail.points) == 1, "the trail goes back in time"


def test_following_keeps_a_point_in_the_middle(scene, node):
    point_m = np.array([0.2, 0.1, 0.9])
    scene.follow(point_m)
    np.testing.assert_allclose(node("").position + point_m, LOOKED_AT_M)
    scene.follow(None)
    np.testing.assert_allclose(node("").position, 0.0)


def test_the_camera_has_its_field_of_view_and_image(scene, node):
    scene.show_camera(None, None, True)
    camera = Camera.from_fov(640, 480, 60.0)
    scene.show_camera(camera, np.zeros((240, 320, 3), np.uint8), True)
    frustum = node("frustum")
    assert np.tan(0.5 * frustum.fov) * frustum.aspect == pytest.approx(np.tan(np.radians(30.0)))
    assert frustum.image.shape == (240, 320, 3)
    scene.show_camera(camera, None, False)
    assert not frustum.visible


def test_controls_become_choices(server):
    panel = Panel(server.gui, title="test")
    before = panel.choices()
    assert set(before.sides) == set(BOTH)
    assert not before.paused
    assert not before.follow
    assert panel.sought_s() is None
    panel._sides.value, panel._opacity.value, panel._colours.value = "left", 0.3, "uncertainty"
    panel._paused.value = panel._follow.value = True
    after = panel.choices()
    assert tuple(after.sides) == (Side.LEFT,)
    assert (after.look.opacity, after.look.colours) == (0.3, "uncertainty")
    assert after.paused
    assert after.follow


def test_only_the_users_hand_on_the_slider_is_a_seek(server):
    panel = Panel(server.gui, title="test", timeline_s=10.0)
    panel.show_time(1.2345678)
    assert panel.sought_s() is None
    panel._slider.value = 4.2
    assert panel.sought_s() == pytest.approx(4.2)
    panel.show_time(4.2)
    assert panel.sought_s() is None


def test_the_page_works_only_while_somebody_looks():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    page = Page(feed, host="127.0.0.1", port=0)
    stop = threading.Event()
    worker = threading.Thread(target=page.serve, args=(stop,))
    worker.start()
    try:
        graph.send("hand_topology", messages.hand_topology(STORE, small_hand_model()))
        graph.send("hand_meshes", array_of([sample_hand()]))
        assert IMAGE_PREVIEW not in graph.subscriptions
        client = PageClient(page.url.replace("http", "ws"))
        client.listen(1.0)
        assert IMAGE_PREVIEW in graph.subscriptions
        before = client.num_bytes
        assert before > 60 * 12, "the mesh has not come"
        graph.send("hand_meshes", array_of([sample_hand(seed=1)]))
        client.listen(1.0)
        assert client.num_bytes > before + 60 * 12, "the hand does not move"
        client.close()
        for _ in range(50):
            if IMAGE_PREVIEW not in graph.subscriptions:
                break
            stop.wait(0.1)
        assert IMAGE_PREVIEW not in graph.subscriptions, "images are taken although nobody looks"
    finally:
        stop.set()
        worker.join()
        page.close()
        feed.close()


def test_a_page_cannot_be_published_on_the_internet():
    page = Page(LiveFeed(FakeGraph(STORE), store=STORE), host="127.0.0.1", port=0)
    try:
        assert page.url.startswith("http://127.0.0.1:")
        assert page._server.request_share_url() is None
    finally:
        page.close()


def test_an_address_of_another_machine_is_refused_at_once():
    with pytest.raises(OSError, match=r"assign|address"):
        Page(LiveFeed(FakeGraph(STORE), store=STORE), host="192.0.2.1", port=8080)
