"""A plain rclpy node with typed messages: camera, listener and caller of services in the tests."""

import contextlib
import importlib
import threading
import time

import rclpy
from camera_samples import STORE, camera_info, image
from dds_peers import TIMEOUT_S, wait_until
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log, Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from std_srvs.srv import SetBool, Trigger

TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4, "active_shutdown": 7}
AIMS = {
    "configure": "inactive",
    "cleanup": "unconfigured",
    "activate": "active",
    "deactivate": "inactive",
    "active_shutdown": "finalized",
}
LOG_QOS = 100
AGAIN_S = 0.5


class RosPeer:
    """Keeps all that it hears; calls wait for their answers."""

    def __init__(self, domain):
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("peer", context=self._context)
        self._publishers, self._clients = {}, {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()
        self._log = self.listen("/rosout", Log, LOG_QOS)

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self):
        self._executor.shutdown(5.0)
        self._thread.join()
        self.node.destroy_node()
        self._context.try_shutdown()

    # Topics

    def listen(self, topic, kind, qos=10, raw=False):
        """A list that grows by each message."""
        heard = []
        self.node.create_subscription(kind, topic, heard.append, qos, raw=raw)
        return heard

    def wait_for_publisher(self, topic):
        wait_until(lambda: self.node.count_publishers(topic), f"a publisher of {topic}")

    def send(self, topic, message, until, qos=1):
        """Publish a message of our own typestore as ROS's typed one until a condition holds.

        Who has met a subscriber has not been met by it yet: what comes too soon is lost. Of images
        with one stamp the node takes the first.
        """
        package, _, name = message.__msgtype__.split("/")
        kind = getattr(importlib.import_module(f"{package}.msg"), name)
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(kind, topic, qos)
        publisher = self._publishers[topic]
        typed = deserialize_message(STORE.encode(message), kind)
        next_s = 0.0

        def sent():
            nonlocal next_s
            if publisher.get_subscription_count() and time.monotonic() > next_s:
                next_s = time.monotonic() + AGAIN_S
                publisher.publish(typed)
            return until()

        wait_until(sent, f"what {topic} brings about")

    def send_info(self, managed):
        """Let a node have the calibration."""
        wait_until(lambda: managed.node, "the node to be configured")
        self.send("/camera_info", camera_info(), lambda: managed.node._camera_info_cdr is not None)

    def send_image(self, stamp_ns, until, frame_id="cam"):
        self.send("/image", image(stamp_ns, frame_id), until)

    def log_line(self, *words):
        """First line on /rosout that holds all the words."""

        def found():
            lines = [line.msg for line in list(self._log)]
            return next((line for line in lines if all(w in line for w in words)), None)

        return wait_until(found, f"a line on /rosout with {words}")

    def log_lines(self, *words):
        """All lines so far that hold all the words."""
        return [line.msg for line in list(self._log) if all(w in line.msg for w in words)]

    # Services

    def ask(self, name, kind, **request):
        """Start a call of a service; the value is its future."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            assert self._clients[name].wait_for_service(TIMEOUT_S), f"no service {name}"
        return self._clients[name].call_async(kind.Request(**request))

    def call(self, name, kind, **request):
        """Call a service that may be called twice; the value is its response."""
        futures, next_s = [], 0.0

        def answered():
            nonlocal next_s
            if time.monotonic() > next_s:  # Fast DDS drops answers to clients it has half met
                next_s = time.monotonic() + 2.0
                futures.append(self.ask(name, kind, **request))
            return next((f.result() for f in futures if f.done()), None)

        return wait_until(answered, f"an answer of {name}")

    def enable(self, enabled):
        answer = self.call("/hand_mesh/enable", SetBool, data=enabled)
        return answer.success, answer.message

    def reset(self):
        return self.call("/hand_mesh/reset", Trigger)

    def change(self, transition):
        """Whether a transition of the node's life cycle worked."""
        before, request = self.state, ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        future = self.ask("/hand_mesh/change_state", ChangeState, transition=request.transition)
        wait_until(lambda: future.done() or self.state != before, f"an answer to {transition}")
        return future.result().success if future.done() else self.state == AIMS[transition]

    @property
    def state(self):
        return self.call("/hand_mesh/get_state", GetState).current_state.label

    def wait_for_state(self, state):
        wait_until(lambda: self.state == state, f"the state {state}")

    def set_parameter(self, name, value):
        """Reason of the refusal, or "" where it was accepted."""
        types = {bool: 1, int: 2, float: 3, str: 4}
        fields = {bool: "bool", int: "integer", float: "double", str: "string"}
        typed = ParameterValue(type=types[type(value)], **{f"{fields[type(value)]}_value": value})
        parameters = [Parameter(name=name, value=typed)]
        (result,) = self.call(
            "/hand_mesh/set_parameters", SetParameters, parameters=parameters
        ).results
        assert result.successful == (not result.reason)
        return result.reason

    def describe_parameters(self, *names):
        service = "/hand_mesh/describe_parameters"
        return self.call(service, DescribeParameters, names=list(names)).descriptors
