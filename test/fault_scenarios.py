"""What goes wrong around the node: each fault is made, and what must hold is asserted.

Every function returns what it did and what it saw; what does not hold raises AssertionError.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
from camera_samples import STORE
from dds_peers import Peer, Program, wait_until
from fault_bench import CLI, PERIOD_NS, Node, Scene, stamp_of

from hand_mesh_ros.sources.base import NS_PER_S

HOUR_NS = 3600 * NS_PER_S


@dataclass(frozen=True)
class Shown:
    """A row of the table of faults."""

    fault: str
    injected: str
    held: str
    figures: str


def lost_frames(scene: Scene, share: float, count: int = 90) -> Shown:
    """A network or a driver that loses images."""
    rng = np.random.default_rng(round(1000 * share))
    (before,) = {h.track_id for h in scene.settle().hands}
    scene.listener.forget()
    stamps = [s for s in (scene.next_ns() for _ in range(count)) if rng.random() >= share]
    scene.play(stamps)
    scene.wait_for(stamps[-1])
    scene.check_sound()
    seen = scene.listener.meshes
    assert scene.track_ids() == [before], f"ids {scene.track_ids()}, expected {before} alone"
    assert all(len(m.hands) == 1 for m in seen), "a frame that came was published without its hand"
    return Shown(
        f"{share:.0%} of the images lost",
        f"{count - len(stamps)} of {count} images at 30 Hz",
        "one id throughout; every image that was processed has its hand; the last one is published",
        f"{len(seen)} arrays of {len(stamps)} images that were sent",
    )


def doubled_and_overtaken(scene: Scene, count: int = 90) -> Shown:
    """Duplicates, and images that arrive after their successor."""
    rng = np.random.default_rng(7)
    (before,) = {h.track_id for h in scene.settle().hands}
    scene.listener.forget()
    stamps = [scene.next_ns() for _ in range(count)]
    order = list(stamps)
    doubled = overtaken = 0
    for i in range(0, count - 3, 3):
        if rng.random() < 0.5:
            order[i], order[i + 1] = order[i + 1], order[i]
            overtaken += 1
    for stamp in stamps[::10]:
        order.insert(order.index(stamp), stamp)
        doubled += 1
    scene.play(order)
    scene.wait_for(stamps[-1])
    scene.check_sound()
    published = scene.listener.stamps_ns
    assert published == sorted(published), "an image was published after its successor"
    assert scene.track_ids() == [before]
    return Shown(
        "Duplicates and reordering",
        f"{doubled} images twice, {overtaken} after their successor, of {count}",
        "no image is published twice or late; one id throughout",
        f"{len(published)} arrays",
    )


def clock_jumps(scene: Scene) -> Shown:
    """Stamps that jump by an hour, back, forth, and into the future."""
    place = _place(scene.settle())
    ids = set(scene.track_ids())
    for jump_ns in (-HOUR_NS, HOUR_NS):
        scene.listener.forget()
        scene.now_ns += jump_ns
        after = scene.settle()
        scene.check_sound()
        assert not set(scene.track_ids()) & ids, "a hand kept its id over an hour"
        ids |= set(scene.track_ids())
        moved_m = float(np.linalg.norm(_place(after) - place))
        assert moved_m < 0.1, f"the hand is {moved_m:.3f} m from where it was"
    scene.node.log_line("image time went back by 3")
    scene.listener.forget()
    future = [scene.now_ns + HOUR_NS + i * PERIOD_NS for i in range(10)]
    scene.play(future)
    scene.node.log_line("image refused", "ahead of this node's clock")
    scene.settle()
    scene.check_sound()
    assert not set(future) & set(scene.listener.stamps_ns), "a stamp of the future was published"
    return Shown(
        "Stamps jump by an hour",
        "back, forth, into the future, back",
        "a new id each time, the hand stays where it is (10 cm); images of the future are refused "
        "with a reason, and the next good one is published",
        "4 jumps",
    )


def too_many_frames(scene: Scene, seconds: float = 2.0, rate_hz: float = 200.0) -> Shown:
    """A camera that is faster than the node."""
    scene.settle()
    scene.listener.forget()
    stamps = []
    for _ in range(round(seconds * rate_hz)):
        scene.now_ns += round(NS_PER_S / rate_hz)
        stamps.append(scene.now_ns)
    scene.play(stamps, rate_hz=rate_hz)
    scene.wait_for(stamps[-1])  # nothing queues: the newest image is next
    scene.check_sound()
    published = scene.listener.stamps_ns
    assert published == sorted(published)
    latency_s = [m.latency.sec + 1e-9 * m.latency.nanosec for m in scene.listener.meshes]
    return Shown(
        "200 Hz input",
        f"{len(stamps)} images of 640 x 480 in {seconds:g} s",
        "in order, none twice, the last one is published: nothing queues",
        f"{len(published)} arrays, latency {1e3 * np.median(latency_s):.0f} ms (median), "
        f"{1e3 * max(latency_s):.0f} ms (most)",
    )


def stalled_subscriber(scene: Scene, count: int = 60) -> Shown:
    """A reliable subscriber that stops to read."""
    with Peer(scene.domain) as peer:
        peer.subscribe("hand_meshes", "hand_mesh_ros/msg/HandMeshArray")
        scene.settle()
        peer.next_message()
        peer.tell("pause")
        scene.listener.forget()
        stamps = [scene.next_ns() for _ in range(count)]
        scene.play(stamps)
        scene.wait_for(stamps[-1])
        scene.check_sound()
        published = len(scene.listener.meshes)
        peer.tell("resume")
    scene.settle()
    return Shown(
        "A subscriber that stalls",
        f"one of two reliable subscribers of hand_meshes does not read for {count} images",
        "the other one hears everything up to the last image",
        f"{published} arrays",
    )


def node_killed() -> Shown:
    """The node dies without a word, and is started again."""
    with Scene() as scene:
        topologies = scene.listener.topologies
        scene.node.kill()
        assert scene.node.finish() == -signal.SIGKILL
        scene.listener.forget()
        start_s = time.monotonic()
        scene.node = Node(scene.domain, *scene.arguments)
        scene.settle()
        took_s = time.monotonic() - start_s
        scene.check_sound()
        assert scene.listener.topologies == topologies + 1, "the topology did not come again"
    return Shown(
        "Node killed (-9) and started again",
        "SIGKILL while it publishes",
        "subscribers that stayed get the new one's hands and its topology, without doing anything",
        f"hands again {took_s:.1f} s after the start",
    )


def camera_killed() -> Shown:
    """The camera's process dies, and comes back."""
    with Scene() as scene:
        env = {"ROS_DOMAIN_ID": str(scene.domain)}
        command = (*CLI, "camera", "--width", "320", "--height", "240")
        scene.listener.forget()
        with Program(command, **env) as camera:
            _wait_for_hands(scene)
            camera.process.kill()
            assert camera.finish() == -signal.SIGKILL
        said = scene.node.log_line("no image for", "hands vanish")
        last_ns = scene.listener.stamps_ns[-1]
        start_s = time.monotonic()
        with Program(command, **env) as camera:
            wait_until(lambda: scene.listener.stamps_ns[-1] > last_ns, "an array after the pause")
            took_s = time.monotonic() - start_s
            scene.node.log_line("images again, after")
            camera.process.terminate()
            camera.finish()
        assert not scene.node.errors, scene.node.errors[0]
        assert scene.listener.stamps_ns == sorted(scene.listener.stamps_ns)
    return Shown(
        "Camera killed (-9) and started again",
        "SIGKILL of `hand-mesh camera` while hands are tracked",
        f'hands vanish ("{said.split("]: ")[-1]}"), and come again with the camera',
        f"arrays again {took_s:.1f} s after the camera's start",
    )


def large_images(count: int = 5) -> Shown:
    """Images of 25 MB."""
    with Scene("-p", "image_reliability:=reliable", width=3840, height=2160) as scene:
        scene.listener.forget()
        for _ in range(count):
            stamp_ns = scene.next_ns()
            scene.feed.send(stamp_ns)
            scene.wait_for(stamp_ns)
        scene.check_sound()
        assert all(m.hands for m in scene.listener.meshes)
        latency_s = [m.latency.sec + 1e-9 * m.latency.nanosec for m in scene.listener.meshes]
    return Shown(
        "4K input",
        f"{count} images of 3840 x 2160 (25 MB each), reliable",
        "each is published, with its hand",
        f"latency {1e3 * np.median(latency_s):.0f} ms (median)",
    )


def _wait_for_hands(scene: Scene) -> None:
    wait_until(lambda: any(m.hands for m in scene.listener.meshes), "hands of the camera")


def _place(array: object) -> np.ndarray:
    """(3,) m, wrist of the only hand."""
    (hand,) = array.hands  # type: ignore[attr-defined]
    p = hand.root.pose.position
    return np.array([p.x, p.y, p.z])
