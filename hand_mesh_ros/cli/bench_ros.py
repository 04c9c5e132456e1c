"""What comes after the pipeline, timed: a publisher of hands, and a subscriber to each topic.

The subscribers have a process of their own, as in life; here they would take turns with us.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from typing import Any

from hand_mesh_ros.cli.bench import WARM_UP_FRAMES, spread_ms
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.graph import Graph, Publisher, Qos
from hand_mesh_ros.ros.hand_publisher import HandPublisher
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.ros.markers import HandMarkers
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.safety import broken_fields
from hand_mesh_ros.sources.synthetic import SyntheticCamera
from hand_mesh_ros.types import Frame, Result

NOT_HEARD = ("hand_topology", "hand_overlay", IMAGE_PREVIEW)
"""Sent once, and pictures for people."""
REST_S, BUSY_S = 0.012, 0.005
"""Between frames. A pipeline would have kept a processor awake: its waking is not ours to time."""
MATCH_TIMEOUT_S = 20.0
_NAMESPACE = "hand_mesh_bench"


def ros_results(*, num_frames: int, num_hands: int) -> list[dict[str, Any]]:
    """A result for each middleware that is here."""
    frames = _frames(num_frames + WARM_UP_FRAMES, num_hands)
    parts = _parts_ms(frames)
    results = []
    for kind in ("DdsGraph", "RclpyGraph"):
        try:
            times_s = _publishing_s(kind, frames)
        except ImportError as error:
            print(f"{kind}: not measured: {error}")
            continue
        results.append(
            {
                "graph": kind,
                "hands": num_hands,
                "frames": num_frames,
                **{f"ms_{name}": value for name, value in spread_ms(times_s).items()},
                "stage_ms": parts,
            }
        )
    return results


def make_graph(kind: str, name: str) -> Graph:
    """A node on a middleware; raises ImportError where that is not installed."""
    if kind == "DdsGraph":
        from hand_mesh_ros.ros.dds_graph import DdsGraph

        return DdsGraph(name, namespace=_NAMESPACE)
    from hand_mesh_ros.ros.rclpy_graph import RclpyGraph

    return RclpyGraph(name, namespace=_NAMESPACE)


def _frames(count: int, num_hands: int) -> list[tuple[Frame, Result]]:
    """True hands stand for reconstructed ones; there are as many numbers in them."""
    camera = SyntheticCamera(64, 48, hands=num_hands, noise=0.0)
    frames = []
    for index in range(count):
        shown = camera.frame_at(index).stamped(time.time_ns())
        frame = shown.frame
        frames.append((frame, Result(frame.stamp_ns, frame.frame_id, shown.hands)))
    return frames


class _Announcing:
    """A graph that keeps its publishers, so that their subscribers can be waited for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.publishers: dict[tuple[str, str], Publisher] = {}

    def publisher(self, topic: str, type_name: str, qos: Qos) -> Publisher:
        made = self._graph.publisher(topic, type_name, qos)
        if topic not in NOT_HEARD:
            self.publishers[topic, type_name] = made
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


def _publishing_s(kind: str, frames: list[tuple[Frame, Result]]) -> list[float]:
    """Seconds that each frame's hands take from the pipeline to the wire."""
    graph = _Announcing(make_graph(kind, "bench_publisher"))
    context = multiprocessing.get_context("spawn")
    end = context.Event()
    parameters, model = NodeParameters(), load_open_hand()
    publisher = HandPublisher(graph, Typestore(), model, ThrottledLog(graph.log))  # type: ignore[arg-type]  # the rest is passed on
    listener = context.Process(target=_listen, args=(kind, list(graph.publishers), end))
    listener.start()
    try:
        _wait_for_subscribers(graph.publishers, listener.is_alive)
        times_s = []
        for frame, result in frames:
            started_s = time.perf_counter()
            if any(broken_fields(hand) for hand in result.hands):
                raise RuntimeError("the synthetic hand is broken")
            publisher.publish(frame, result, parameters, 0.0)
            times_s.append(time.perf_counter() - started_s)
            time.sleep(REST_S)
            busy_until_s = time.perf_counter() + BUSY_S
            while time.perf_counter() < busy_until_s:
                pass
    finally:
        end.set()
        listener.join(10.0)
        if listener.is_alive():
            listener.kill()
        graph.shutdown()
    return times_s[WARM_UP_FRAMES:]


def _listen(kind: str, topics: list[tuple[str, str]], end: Event) -> None:
    """Body of the subscribers' process."""
    graph = make_graph(kind, "bench_listener")
    for topic, type_name in topics:
        graph.subscribe(topic, type_name, Qos(), lambda cdr: None)
    end.wait()
    graph.shutdown()


def _wait_for_subscribers(
    publishers: dict[tuple[str, str], Publisher], is_listening: Callable[[], bool]
) -> None:
    give_up_s = time.monotonic() + MATCH_TIMEOUT_S
    while not all(p.subscriber_count for p in publishers.values()):
        if time.monotonic() > give_up_s or not is_listening():
            missing = [topic for (topic, _), p in publishers.items() if not p.subscriber_count]
            raise RuntimeError(f"no subscriber heard of {', '.join(missing)}")
        time.sleep(0.05)


def _parts_ms(frames: list[tuple[Frame, Result]]) -> dict[str, dict[str, float]]:
    """What building and encoding each message takes, without sending it."""
    store, model = Typestore(), load_open_hand()
    markers, angles = HandMarkers(store, model), JointAngles(model)

    def meshes(result: Result) -> None:
        array = messages.hand_mesh_array(store, result, 0.0)
        store.encode(array)
        for mesh in array.hands:
            store.encode(mesh)

    def tf(result: Result) -> None:
        about = result.stamp_ns, result.frame_id
        store.encode(messages.tf_message(store, result.hands, *about))

    def joints(result: Result) -> None:
        about = result.stamp_ns, result.frame_id
        store.encode(messages.joint_states(store, angles, result.hands, *about))

    def marks(result: Result) -> None:
        markers.encode(result.hands, result.stamp_ns, result.frame_id)

    parts = {"meshes": meshes, "tf": tf, "markers": marks, "joint_states": joints}
    times: dict[str, dict[str, float]] = {}
    for name, part in parts.items():
        taken_s = []
        for _, result in frames:
            started_s = time.perf_counter()
            part(result)
            taken_s.append(time.perf_counter() - started_s)
        times[name] = spread_ms(taken_s[WARM_UP_FRAMES:])
    return times
