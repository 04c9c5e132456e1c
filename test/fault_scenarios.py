"""What goes wrong with the images of a camera: each fault is made, and what must hold is asserted.

Every function returns what it did and what it saw; what does not hold raises AssertionError.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dds_peers import Peer
from fault_bench import PERIOD_NS, Scene

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
    assert scene.track_ids() == [before], f"ids {scene.track_ids()}, expected {before} alone"
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


def _place(array: object) -> np.ndarray:
    """(3,) m, wrist of the only hand."""
    (hand,) = array.hands  # type: ignore[attr-defined]
    p = hand.root.pose.position
    return np.array([p.x, p.y, p.z])
