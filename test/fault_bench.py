"""A node in a process of its own, images for it, and what it says: the tools of the fault tests."""

from __future__ import annotations

import contextlib
import struct
import sys
import threading
import time
from functools import cache

import numpy as np
from camera_samples import STORE
from dds_peers import Program, free_domain, wait_until
from process_samples import info_of

from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.messages import image_message
from hand_mesh_ros.sources.base import NS_PER_S
from hand_mesh_ros.sources.synthetic import SyntheticCamera

CLI = (
    sys.executable,
    "-c",
    "import sys; from hand_mesh_ros.cli.main import main; sys.exit(main())",
)
REMAPS = ("-r", "image:=camera/image_raw", "-r", "camera_info:=camera/camera_info")
# A machine with other things to do may leave the node alone for seconds: that is not the fault.
PATIENT = ("-p", "lost_hand_timeout_s:=10.0", "-p", "stale_timeout_s:=60.0")
PERIOD_NS = NS_PER_S // 30


@cache
def frames(width=640, height=480, count=6):
    """Rendered frames of one hand."""
    count = count if width < 2000 else 1  # large ones take long to draw
    camera = SyntheticCamera(width, height, seed=3, rate_hz=30.0)
    return [camera.frame_at(i).frame for i in range(count)]


class Feed:
    """A camera in this process, whose every image the test decides on."""

    def __init__(self, graph, width=640, height=480):
        self._image = graph.publisher("camera/image_raw", "sensor_msgs/msg/Image", Qos(depth=1))
        kind = "sensor_msgs/msg/CameraInfo"
        self._info_publisher = graph.publisher("camera/camera_info", kind, Qos(depth=1))
        pictures = frames(width, height)
        self._info = STORE.encode(info_of(pictures[0]))
        self._cdrs = [STORE.encode(image_message(STORE, f.image, 1, "cam")) for f in pictures]
        self.sent_ns = []

    def wait_for_node(self):
        wait_until(lambda: self._image.subscriber_count == 1, "the node's subscription")

    def send(self, stamp_ns):
        """An image of that stamp; of equal stamps the same."""
        seconds, nanoseconds = divmod(stamp_ns, NS_PER_S)
        cdr = self._cdrs[self._place(stamp_ns)]
        self.sent_ns.append(stamp_ns)
        self._info_publisher.publish(self._info)
        self._image.publish(cdr[:4] + struct.pack("<iI", seconds, nanoseconds) + cdr[12:])

    def _place(self, stamp_ns):
        """Forth and back through the frames."""
        count = len(self._cdrs)
        at = stamp_ns // PERIOD_NS % (2 * count)  # hardly moved from one to the next
        return at if at < count else 2 * count - 1 - at


class Listener:
    """Keeps what the node publishes."""

    def __init__(self, graph):
        self._lock = threading.Lock()
        self._meshes, self.topologies = [], 0
        graph.subscribe("hand_meshes", "hand_mesh_ros/msg/HandMeshArray", Qos(), self._on_meshes)
        latched = Qos(durability="transient_local", depth=1)
        graph.subscribe(
            "hand_topology", "hand_mesh_ros/msg/HandTopology", latched, self._on_topology
        )

    @property
    def meshes(self):
        """All arrays so far."""
        with self._lock:
            return list(self._meshes)

    @property
    def stamps_ns(self):
        """Their stamps."""
        return [stamp_of(m) for m in self.meshes]

    def forget(self):
        """Start a new record."""
        with self._lock:
            self._meshes.clear()

    def _on_meshes(self, cdr):
        message = STORE.decode(bytes(cdr), "hand_mesh_ros/msg/HandMeshArray")
        with self._lock:
            self._meshes.append(message)

    def _on_topology(self, cdr):
        self.topologies += 1


def stamp_of(message):
    return message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec


class Node(Program):
    """`hand-mesh run` as a process."""

    def __init__(self, domain, *arguments, command=(), **env):
        line = [*command, *CLI, "run", "--ros-args", *REMAPS, *arguments]
        super().__init__(line, ROS_DOMAIN_ID=str(domain), **env)

    def kill(self):
        """As the system does when memory is short."""
        self.process.kill()
        self.process.wait()

    @property
    def errors(self):
        """Lines of its log that say error, or a traceback's first."""
        return [x for x in list(self.log) if "[ERROR]" in x or "[FATAL]" in x or "Traceback" in x]


class Scene:
    """Node, images and listener on a domain of their own."""

    def __init__(self, *arguments, width=640, height=480):
        self.domain = free_domain()
        self.arguments = (*PATIENT, *arguments)
        self.graph = DdsGraph("fault_bench", domain_id=self.domain)
        self.feed = Feed(self.graph, width, height)
        self.listener = Listener(self.graph)
        self.node = Node(self.domain, *self.arguments)
        self.now_ns = time.time_ns()

    def __enter__(self):
        self.feed.wait_for_node()
        self.settle()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.node.process.terminate()
        self.node.finish()
        self.graph.shutdown()

    def next_ns(self):
        """The stamp of the next image of an undisturbed camera."""
        self.now_ns += PERIOD_NS
        return self.now_ns

    def play(self, stamps_ns, rate_hz=30.0):
        """Send images of these stamps at a rate of the clock."""
        start_s = time.monotonic()
        for i, stamp_ns in enumerate(stamps_ns):
            time.sleep(max(start_s + i / rate_hz - time.monotonic(), 0.0))
            self.feed.send(stamp_ns)

    def settle(self):
        """Send undisturbed images until one with a hand comes back; the value is its array.

        That this ends is what every fault has to show: the node works as before.
        """
        after_ns = self.now_ns

        def seen():
            self.feed.send(self.next_ns())
            time.sleep(0.05)
            now_ns = self.now_ns
            found = [m for m in self.listener.meshes if after_ns < stamp_of(m) <= now_ns]
            return next((m for m in reversed(found) if m.hands), None)

        array = wait_until(seen, f"a hand after the fault; the node said {self.node.log[-5:]}")
        self.wait_until_quiet()
        return array

    def wait_until_quiet(self):
        """Wait until all that is under way has come."""

        def quiet():
            count = len(self.listener.meshes)
            time.sleep(0.5)
            return len(self.listener.meshes) == count

        wait_until(quiet, "the end of what is under way")

    def wait_for(self, stamp_ns):
        """Wait until the array of an image has come."""
        wait_until(lambda: stamp_ns in self.listener.stamps_ns, "the array of the last image")

    def check_sound(self):
        """What holds whatever happens; raises AssertionError."""
        assert self.node.process.poll() is None, f"the node ended: {self.node.log[-5:]}"
        assert not self.node.errors, self.node.errors[0]
        sent, stamps = set(self.feed.sent_ns), self.listener.stamps_ns
        assert set(stamps) <= sent, "an array has a stamp that no image had"
        assert len(set(stamps)) == len(stamps), "an image was published twice"
        for message in self.listener.meshes:
            for hand in message.hands:
                assert stamp_of(hand) == stamp_of(message)
                numbers = (hand.keypoints, hand.vertices, hand.root.covariance)
                assert all(np.isfinite(values).all() for values in numbers)
                q = hand.root.pose.orientation
                assert abs(np.linalg.norm([q.x, q.y, q.z, q.w]) - 1.0) < 1e-6

    def track_ids(self):
        """Different ids, in the order of their coming."""
        return list(dict.fromkeys(h.track_id for m in self.listener.meshes for h in m.hands))
