"""A node's place in ROS 2 through rclpy; messages pass as the CDR bytes that we encode."""

from __future__ import annotations

import atexit
import importlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hand_mesh_ros.ros.graph import Answer, Qos, ServiceKind
from hand_mesh_ros.ros.qos_warning import qos_warning
from hand_mesh_ros.ros.rclpy_log import rclpy_logger
from hand_mesh_ros.ros.signals import wait_until_stopped

try:
    import rclpy
    from rclpy.callback_groups import ReentrantCallbackGroup
    from rclpy.context import Context
    from rclpy.exceptions import InvalidHandle
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.qos import (
        DurabilityPolicy,
        HistoryPolicy,
        QoSProfile,
        ReliabilityPolicy,
        qos_policy_name_from_kind,
    )
    from rclpy.task import Future
    from std_srvs.srv import SetBool, Trigger

    try:
        from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
    except ImportError:  # Humble
        from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError as error:
    raise ImportError(
        f"rclpy cannot be imported ({error}): source /opt/ros/DISTRO/setup.bash, "
        "or use hand-mesh run, which needs no ROS"
    ) from error

_SERVICE_TYPES = {"set_bool": SetBool, "trigger": Trigger}
_JOIN_TIMEOUT_S = 5.0
_RETRY_S = 0.1


class RclpyPublisher:
    """An rclpy publisher of CDR bytes."""

    def __init__(self, publisher: Any, is_stopped: Callable[[], bool]) -> None:
        self._publisher, self._is_stopped = publisher, is_stopped
        self.closed = False

    @property
    def subscriber_count(self) -> int:
        """How many subscriptions are matched right now."""
        return self._unless_closed(self._publisher.get_subscription_count) or 0

    def publish(self, cdr: bytes | bytearray | memoryview) -> None:
        """Send one message, encapsulation header included; after the end nothing happens."""
        self._unless_closed(self._publisher.publish, bytes(cdr))

    def _unless_closed(self, function: Callable[..., Any], *args: object) -> Any:
        """Result of a call, or None where the node has left meanwhile."""
        if self.closed or self._is_stopped():
            return None
        try:
            return function(*args)
        except (InvalidHandle, RuntimeError):
            if self.closed or self._is_stopped():
                return None
            raise


class RclpySubscription:
    """An rclpy subscription that can be given up."""

    def __init__(self, node: Node, subscription: Any) -> None:
        self._node, self._subscription = node, subscription

    def close(self) -> None:
        """Let no further callback begin; safe to call twice."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)


class RclpyGraph:
    """Implements `Graph` with one rclpy node in a context of its own; it is served by one thread.

    Args:
        node_name: unless the arguments remap it.
        namespace: unless the arguments remap it; "" for none.
        arguments: command line without the program's name; `--ros-args ... --` is read.
        domain_id: ROS domain; ROS_DOMAIN_ID, or 0, if None.
        node_class: makes the node, of rclpy's `Node` or `LifecycleNode`.

    Raises:
        ValueError: arguments that cannot be used.
    """

    def __init__(
        self,
        node_name: str,
        *,
        namespace: str = "",
        arguments: Sequence[str] = (),
        domain_id: int | None = None,
        node_class: Callable[..., Node] = Node,
    ) -> None:
        self._context = Context()
        try:
            # What comes first is the program's name to rcl.
            rclpy.init(args=[node_name, *arguments], context=self._context, domain_id=domain_id)
            self.node = node_class(
                node_name,
                namespace=namespace,
                context=self._context,
                automatically_declare_parameters_from_overrides=True,
            )
        except (RuntimeError, ValueError) as error:
            self._context.try_shutdown()
            text = " ".join(str(error).split(", at ")[0].split())
            raise ValueError(f"ROS does not take the arguments: {text}") from error
        self._log = rclpy_logger(self.node.get_logger())
        self._said: set[str] = set()
        self._stopped = threading.Event()
        self._stopping = threading.Lock()
        # A service's turn must not block the others while it waits.
        self._service_group = ReentrantCallbackGroup()
        self._publishers: list[RclpyPublisher] = []
        self._services: list[Any] = []
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._serve, name="rclpy callbacks", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)

    @property
    def node_name(self) -> str:
        """Name of the node after remapping, without its namespace."""
        return self.node.get_name()

    @property
    def log(self) -> logging.Logger:
        """Speaks through rclpy, so on the console, in the log file and on /rosout."""
        return self._log

    def parameter_overrides(self) -> Mapping[str, object]:
        """Values given by file and command line; later those that have been set, too."""
        return {name: p.value for name, p in self.node.get_parameters_by_prefix("").items()}

    def publisher(self, topic: str, type_name: str, qos: Qos) -> RclpyPublisher:
        """Create a publisher; rclpy expands and remaps `topic`."""
        events = PublisherEventCallbacks(
            incompatible_qos=lambda event: self._qos_refused(event, topic, is_publisher=True)
        )
        message_type, profile = _message_type(type_name), _profile(qos)
        made = self.node.create_publisher(message_type, topic, profile, event_callbacks=events)
        publisher = RclpyPublisher(made, self._stopped.is_set)
        self._publishers.append(publisher)
        return publisher

    def subscribe(
        self, topic: str, type_name: str, qos: Qos, callback: Callable[[memoryview], None]
    ) -> RclpySubscription:
        """Call back with each message's CDR bytes; what the callback raises is logged."""

        def on_message(cdr: bytes) -> None:
            try:
                callback(memoryview(cdr))
            except Exception:
                self._log.exception(f"callback of {topic} failed")

        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._qos_refused(
                event, topic, is_publisher=False, parameter=qos.parameter
            )
        )
        subscription = self.node.create_subscription(
            _message_type(type_name),
            topic,
            on_message,
            _profile(qos),
            event_callbacks=events,
            raw=True,
        )
        return RclpySubscription(self.node, subscription)

    def service(self, name: str, kind: ServiceKind, callback: Callable[..., Answer]) -> None:
        """Offer a service; each call has a thread of its own, so that it may wait."""

        async def serve(request: Any, response: Any) -> Any:
            arguments = (request.data,) if kind == "set_bool" else ()
            future = Future(executor=self._executor)

            def work() -> None:
                try:
                    answer = callback(*arguments)
                except Exception as error:
                    self._log.exception(f"service {name} failed")
                    answer = False, f"{type(error).__name__}: {error}"
                self._executor.create_task(future.set_result, answer)  # wakes the executor

            threading.Thread(target=work, name=f"service {name}", daemon=True).start()
            response.success, response.message = await future
            return response

        service = self.node.create_service(
            _SERVICE_TYPES[kind], name, serve, callback_group=self._service_group
        )
        self._services.append(service)

    def remove_outputs(self) -> None:
        """Take back every publisher and service that was made here; they do nothing from now on."""
        publishers, self._publishers = self._publishers, []
        services, self._services = self._services, []
        for publisher in publishers:
            publisher.closed = True
            self.node.destroy_publisher(publisher._publisher)
        for service in services:
            self.node.destroy_service(service)

    def run_on_thread(self, function: Callable[[], object]) -> None:
        """Call a function soon, on the thread of the callbacks."""
        self._executor.create_task(function)

    def now_ns(self) -> int:
        """Time of the node's clock: simulated if use_sim_time is true."""
        return self.node.get_clock().now().nanoseconds

    def spin(self) -> None:
        """Serve until `shutdown`, SIGINT or SIGTERM."""
        wait_until_stopped(self._stopped)

    def stop_callbacks(self) -> None:
        """Let the one that runs finish, and begin no other; publishing still works."""
        self._executor.shutdown(timeout_sec=_JOIN_TIMEOUT_S)
        self._thread.join(_JOIN_TIMEOUT_S)

    def shutdown(self) -> None:
        """Leave the graph; safe to call twice and from any thread."""
        with self._stopping:
            if self._stopped.is_set():
                return
            self._stopped.set()
        atexit.unregister(self.shutdown)
        if threading.current_thread() is self._thread:
            self._context.try_shutdown()  # the thread ends after this callback
            return
        self.stop_callbacks()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _serve(self) -> None:
        """Body of the graph's thread."""
        while not self._stopped.is_set() and self._context.ok():
            try:
                self._executor.spin()
                return
            except Exception:  # this thread must outlive whatever a peer does
                if not self._stopped.is_set() and self._context.ok():
                    self._log.exception("serving callbacks failed")
                    self._stopped.wait(_RETRY_S)

    def _qos_refused(
        self, event: Any, topic: str, *, is_publisher: bool, parameter: str = ""
    ) -> None:
        warning = qos_warning(
            self.node.resolve_topic_name(topic),
            qos_policy_name_from_kind(event.last_policy_kind).lower(),
            is_publisher=is_publisher,
            parameter=parameter,
        )
        if warning not in self._said:
            self._said.add(warning)
            self._log.warning(warning)


def _message_type(type_name: str) -> Any:
    """The class that rclpy wants of a type, e.g. "sensor_msgs/msg/Image"."""
    package, _, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError as error:
        raise ImportError(
            f"messages of {package} are not built for this ROS ({error}): colcon build, "
            "then source install/setup.bash"
        ) from error


def _profile(qos: Qos) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )
