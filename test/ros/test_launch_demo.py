"""demo.launch.py as a user starts it: hands arrive with stamp and frame of their images."""

import struct
import sys
import threading
import time
import unittest
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
pytest.importorskip("launch_testing", reason="needs ROS 2's launch_testing")
hand_mesh_msgs = pytest.importorskip(
    "hand_mesh_ros.msg", reason="needs hand_mesh_ros built by colcon and sourced"
)

import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from dds_peers import free_domain

DOMAIN = free_domain()
FRAME = "camera_optical_frame"
NUM_RESULTS = 30
PATIENCE_S = 90.0


@pytest.mark.launch_test
def generate_test_description():
    """The demo in a DDS domain of its own."""
    demo = PathJoinSubstitution([FindPackageShare("hand_mesh_ros"), "launch", "demo.launch.py"])
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            IncludeLaunchDescription(demo),
            launch_testing.actions.ReadyToTest(),
        ]
    )


def stamp_ns(header):
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def stamp_and_frame(cdr):
    """Of an Image's bytes: cheaper than the image."""
    sec, nanosec, length = struct.unpack_from("<iII", cdr, 4)
    return sec * 1_000_000_000 + nanosec, cdr[16 : 16 + length - 1].decode()


class Listener:
    """Keeps what comes, by stamp."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("listener", context=self.context)
        self.frame_of_image, self.results, self.truths, self.transforms = {}, {}, {}, {}
        array = hand_mesh_msgs.HandMeshArray
        subscribe = self.node.create_subscription
        subscribe(Image, "camera/image_raw", self._on_image, 30, raw=True)
        subscribe(array, "hand_meshes", lambda m: self._keep(self.results, m), 30)
        subscribe(array, "camera/ground_truth", lambda m: self._keep(self.truths, m), 30)
        subscribe(TFMessage, "/tf", self._on_tf, 100)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self.executor.spin, daemon=True)
        self._thread.start()

    def wait_for_results(self):
        """Until enough results with hands have come whose image and truth have come too."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            complete = [
                ns
                for ns, result in list(self.results.items())
                if result.hands and ns in self.frame_of_image and ns in self.truths
            ]
            if len(complete) >= NUM_RESULTS:
                return complete
            time.sleep(0.1)
        raise AssertionError(
            f"{len(self.frame_of_image)} images, {len(self.results)} results and "
            f"{len(self.truths)} truths came in {PATIENCE_S:g} s, expected {NUM_RESULTS} of each"
        )

    def close(self):
        self.executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _keep(self, where, message):
        where[stamp_ns(message.header)] = message

    def _on_image(self, cdr):
        ns, frame = stamp_and_frame(cdr)
        self.frame_of_image[ns] = frame

    def _on_tf(self, message):
        for transform in message.transforms:
            key = (stamp_ns(transform.header), transform.child_frame_id)
            self.transforms[key] = transform


class TestDemo(unittest.TestCase):
    """While the demo runs."""

    @classmethod
    def setUpClass(cls):
        cls.listener = Listener()
        cls.stamps = cls.listener.wait_for_results()

    @classmethod
    def tearDownClass(cls):
        cls.listener.close()

    def test_every_result_has_stamp_and_frame_of_an_image(self):
        first_image = min(self.listener.frame_of_image)
        for ns, result in list(self.listener.results.items()):
            if ns < first_image:  # its image came before the listener did
                continue
            assert ns in self.listener.frame_of_image
            assert result.header.frame_id == FRAME
            for hand in result.hands:
                assert hand.header == result.header

    def test_hands_are_where_the_truth_is(self):
        errors_m = []
        for ns in self.stamps:
            hand, truth = self.listener.results[ns].hands[0], self.listener.truths[ns].hands[0]
            assert hand.side == truth.side
            assert len(hand.vertices) == 778 * 3
            errors_m.append(np.linalg.norm(position(hand) - position(truth)))
        assert np.median(errors_m) < 0.05

    def test_tf_repeats_the_root_of_the_message(self):
        compared = 0
        for ns in self.stamps:
            transform = self.listener.transforms.get((ns, "right_hand_root"))
            if transform is None:
                continue
            assert transform.header.frame_id == FRAME
            t = transform.transform.translation
            np.testing.assert_allclose(
                (t.x, t.y, t.z), position(self.listener.results[ns].hands[0]), atol=1e-6
            )
            compared += 1
        assert compared > NUM_RESULTS // 2


def position(hand):
    p = hand.root.pose.position
    return np.array((p.x, p.y, p.z))


@launch_testing.post_shutdown_test()
class TestShutdown(unittest.TestCase):
    """After Ctrl-C."""

    def test_all_end_well(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
