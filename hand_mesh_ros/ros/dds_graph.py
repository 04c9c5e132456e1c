"""A real ROS 2 node without ROS: Cyclone DDS from its wheel, messages as CDR bytes."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from hand_mesh_ros.ros import discovery
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.dds_config import (
    INTERFACES,
    cyclone_environment,
    domain_id_of,
    small_buffer_warning,
)
from hand_mesh_ros.ros.graph import Answer, Qos, ServiceKind
from hand_mesh_ros.ros.peer_watch import Peer, PeerWatch, Publication
from hand_mesh_ros.ros.ros_log import node_logger
from hand_mesh_ros.ros.signals import wait_until_stopped
from hand_mesh_ros.ros.typestore import FieldType, Typestore

try:
    from cyclonedds import idl
    from cyclonedds._clayer import ddspy_take
    from cyclonedds.builtin import (
        BuiltinDataReader,
        BuiltinTopicDcpsPublication,
        BuiltinTopicDcpsSubscription,
    )
    from cyclonedds.core import (
        DDSException,
        DDSStatus,
        Entity,
        GuardCondition,
        InstanceState,
        ReadCondition,
        SampleState,
        ViewState,
        WaitSet,
    )
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.idl import types as idl_types
    from cyclonedds.internal import DDS
    from cyclonedds.pub import DataWriter
    from cyclonedds.qos import Policy
    from cyclonedds.qos import Qos as DdsQos
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration
except ImportError as error:
    raise ImportError(
        f"running without ROS needs Cyclone DDS ({error}): pip install 'cyclonedds>=11'"
    ) from error

_ANY_STATE = SampleState.Any | ViewState.Any | InstanceState.Any
_UNREAD = SampleState.NotRead | ViewState.Any | InstanceState.Any
# How long a reliable publisher waits for a subscriber that does not keep up: less than a frame.
_MAX_BLOCKING_TIME = duration(milliseconds=20)
_JOIN_TIMEOUT_S = 5.0


class _Payload(ctypes.Structure):
    """What the wheel's own type support takes for a sample: CDR bytes with their header."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


# The package's ddspy_write keeps the GIL while it sends; ctypes lets it go.
_dds_write = DDS._dll_handle.dds_write  # type: ignore[union-attr]
_dds_write.argtypes = (ctypes.c_int32, ctypes.POINTER(_Payload))
_dds_write.restype = ctypes.c_int32


class DdsPublisher:
    """A DDS writer of CDR bytes."""

    def __init__(self, writer: DataWriter, topic: str, type_name: str, log: logging.Logger) -> None:
        self._writer = writer
        self._topic = topic
        self._type_name = type_name
        self._log = log
        self._has_warned = False
        self.closed = False

    @property
    def subscriber_count(self) -> int:
        """How many subscriptions are matched right now."""
        try:
            return self._writer.get_publication_matched_status().current_count
        except DDSException:
            if self.closed:
                return 0
            raise

    def publish(self, cdr: bytes | bytearray | memoryview) -> None:
        """Send one message, encapsulation header included; after shutdown nothing happens.

        Raises:
            ValueError: the bytes are no message of the publisher's type.
        """
        if self.closed:
            return
        data = np.frombuffer(cdr, np.uint8)
        if len(data) % 4:  # Cyclone sends whole words, and would read behind the end
            data = np.concatenate([data, np.zeros(-len(data) % 4, np.uint8)])
        status = _dds_write(self._writer._ref, _Payload(data.ctypes.data, data.nbytes))
        if status == DDSException.DDS_RETCODE_TIMEOUT:
            if not self._has_warned:
                self._has_warned = True
                self._log.warning(
                    f"a reliable subscriber of {self._topic} does not keep up: dropping"
                )
        elif status == DDSException.DDS_RETCODE_BAD_PARAMETER and not self.closed:
            raise ValueError(f"{len(cdr)} bytes for {self._topic} are no {self._type_name}")
        elif status < 0 and not self.closed:
            raise RuntimeError(f"cannot publish on {self._topic}: {DDSException(status)}")


@dataclass(eq=False)
class DdsSubscription:
    """A DDS reader and what it calls."""

    reader: DataReader
    unread: ReadCondition
    topic: str
    qos: Qos
    callback: Callable[[memoryview], None]
    on_close: Callable[[DdsSubscription], None]
    closed: bool = False

    def close(self) -> None:
        """Let no further callback begin; safe to call twice."""
        self.on_close(self)


class DdsGraph:
    """Implements `Graph`: one DDS participant with one node; callbacks run on a thread of its own.

    Args:
        node_name: unless the arguments remap it.
        namespace: unless the arguments remap it; "" for none.
        arguments: command line without the program's name; `--ros-args ... --` is read.
        distro: ROS distribution to be compatible with, e.g. "humble".
        domain_id: DDS domain; ROS_DOMAIN_ID, or 0, if None.

    Raises:
        ValueError: arguments, distribution or domain that cannot be used.
        RuntimeError: the network cannot be used.
    """

    def __init__(
        self,
        node_name: str,
        *,
        namespace: str = "",
        arguments: Sequence[str] = (),
        distro: str = "jazzy",
        domain_id: int | None = None,
    ) -> None:
        self._arguments = parse_ros_arguments(arguments, node_name, namespace)
        self._store = Typestore(distro)
        self._log = node_logger(self._arguments.full_name, self._arguments.log_level)
        for warning in self._arguments.warnings:
            self._log.warning(warning)
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._peers = PeerWatch(self._store, self._log)
        self._topics: dict[str, tuple[str, Topic[Any]]] = {}  # ROS type and DDS topic by ROS name
        self._publishers: list[DdsPublisher] = []
        self._subscriptions: list[DdsSubscription] = []
        self._has_said_no_services = False

        self._participant = _participant(domain_id_of(os.environ, domain_id))
        self._entities: list[Entity] = [self._participant]
        # Made first, so that a peer is known before what it sends is looked at.
        self._peer_readers = [
            self._own(BuiltinDataReader(self._participant, topic))
            for topic in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription)
        ]
        self._announcer = self._announcing_publisher()
        self._announce()
        self._wake = self._own(GuardCondition(self._participant))
        self._waitset = self._own(WaitSet(self._participant))
        for entity in (self._wake, *(self._unread(reader) for reader in self._peer_readers)):
            self._waitset.attach(entity)
        self._thread = threading.Thread(target=self._serve, name="dds callbacks", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)

    @property
    def node_name(self) -> str:
        """Name of the node after remapping, without its namespace."""
        return self._arguments.node_name

    @property
    def namespace(self) -> str:
        """Namespace of the node after remapping, "/" for none."""
        return self._arguments.namespace

    @property
    def log(self) -> logging.Logger:
        """Speaks on stderr in ROS's format."""
        return self._log

    def parameter_overrides(self) -> Mapping[str, object]:
        """Values given by file and command line, later ones winning; unknown names included."""
        return dict(self._arguments.parameters)

    def publisher(self, topic: str, type_name: str, qos: Qos) -> DdsPublisher:
        """Create a publisher; `topic` is expanded and remapped, as in `Graph`."""
        with self._lock:
            name, dds_topic = self._topic(topic, type_name)
            writer = self._own(DataWriter(self._participant, dds_topic, self._qos(qos, type_name)))
            publisher = DdsPublisher(writer, name, type_name, self._log)
            self._publishers.append(publisher)
            self._watch(writer, DDSStatus.OfferedIncompatibleQos)
        return publisher

    def subscribe(
        self, topic: str, type_name: str, qos: Qos, callback: Callable[[memoryview], None]
    ) -> DdsSubscription:
        """Call back with each message's CDR bytes; what the callback raises is logged."""
        with self._lock:
            name, dds_topic = self._topic(topic, type_name)
            reader = self._own(DataReader(self._participant, dds_topic, self._qos(qos, type_name)))
            unread = self._unread(reader)
            subscription = DdsSubscription(reader, unread, name, qos, callback, self._unsubscribe)
            self._subscriptions.append(subscription)
            self._watch(reader, DDSStatus.RequestedIncompatibleQos)
            self._waitset.attach(unread)
        if type_name == "sensor_msgs/msg/Image" and (warning := small_buffer_warning()):
            self._peers.say_once(warning)
        return subscription

    def service(self, name: str, kind: ServiceKind, callback: Callable[..., Answer]) -> None:
        """Nothing: services need ROS."""
        if not self._has_said_no_services:
            self._has_said_no_services = True
            self._log.debug(f"without ROS there are no services: none is {name}")

    def publications(self) -> list[Publication]:
        """Publishers that have been found so far; discovery takes a second."""
        with self._lock:
            return self._peers.publications()

    def now_ns(self) -> int:
        """Time of the system's clock."""
        return time.time_ns()

    def spin(self) -> None:
        """Serve until `shutdown`, SIGINT or SIGTERM."""
        wait_until_stopped(self._stopped)

    def shutdown(self) -> None:
        """Leave the graph, seen by all peers; safe to call twice and from any thread."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._stopped.set()
            for publisher in self._publishers:
                publisher.closed = True
        atexit.unregister(self.shutdown)
        self._wake.set(True)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT_S)  # a callback may hold it longer, but not for ever
        for entity in reversed(self._entities):
            entity.__del__()  # the package's only way to delete at a known time
        self._entities.clear()

    def _unsubscribe(self, subscription: DdsSubscription) -> None:
        with self._lock:
            if subscription.closed or self._stopped.is_set():
                return
            subscription.closed = True
            self._subscriptions.remove(subscription)
            self._waitset.detach(subscription.unread)
            self._waitset.detach(subscription.reader)
            for entity in (subscription.unread, subscription.reader):
                self._entities.remove(entity)
                entity.__del__()  # the package's only way to delete at a known time
            self._announce()

    def _own(self, entity: Any) -> Any:
        self._entities.append(entity)
        return entity

    def _unread(self, reader: DataReader) -> ReadCondition:
        return self._own(ReadCondition(reader, _UNREAD))

    def _topic(self, topic: str, type_name: str) -> tuple[str, Topic[Any]]:
        """ROS name and DDS topic; the latter is shared by all endpoints of that name."""
        if self._stopped.is_set():
            raise RuntimeError(f"{self.node_name} has left the graph, {topic} cannot be created")
        name = self._arguments.resolve(topic)
        if name not in self._topics:
            data_type = _idl_class(self._store.distro, type_name)
            dds_topic = self._own(Topic(self._participant, discovery.dds_topic(name), data_type))
            self._topics[name] = (type_name, dds_topic)
            self._peers.use_topic(name, type_name)
        present, dds_topic = self._topics[name]
        if present != type_name:
            raise ValueError(f"topic {name} is already used here with {present}, not {type_name}")
        return name, dds_topic

    def _qos(self, qos: Qos, type_name: str) -> DdsQos:
        return _dds_qos(qos, discovery.endpoint_user_data(self._store, type_name))

    def _watch(self, endpoint: DataReader | DataWriter, status: int) -> None:
        """Tell peers of a new endpoint, and be told of peers that do not fit it."""
        endpoint.set_status_mask(status)
        self._waitset.attach(endpoint)
        self._announce()

    def _announcing_publisher(self) -> DdsPublisher:
        name, type_name = discovery.DISCOVERY_TOPIC, discovery.DISCOVERY_TYPE
        data_type = _idl_class(self._store.distro, type_name)
        topic = self._own(Topic(self._participant, name, data_type))
        qos = self._qos(discovery.DISCOVERY_QOS, type_name)
        writer = self._own(DataWriter(self._participant, topic, qos))
        return DdsPublisher(writer, name, type_name, self._log)

    def _announce(self) -> None:
        info = discovery.participant_info(
            self._store,
            self._participant.guid.bytes,
            (self.namespace, self.node_name),
            readers=[subscription.reader.guid.bytes for subscription in self._subscriptions],
            writers=[publisher._writer.guid.bytes for publisher in self._publishers],
        )
        self._announcer.publish(info)

    def _serve(self) -> None:
        """Body of the graph's thread."""
        while not self._stopped.is_set():
            try:
                self._waitset.wait(duration(seconds=60))
                self._meet_peers()
                for subscription in tuple(self._subscriptions):
                    self._deliver(subscription)
            except Exception:  # this thread must outlive whatever a peer does
                if not self._stopped.is_set():
                    self._log.exception("serving subscriptions failed")
                    self._stopped.wait(0.1)

    def _deliver(self, subscription: DdsSubscription) -> None:
        if self._stopped.is_set() or subscription.closed:
            return
        taken = ddspy_take(subscription.reader._ref, _ANY_STATE, subscription.qos.depth)
        for cdr, info in taken if isinstance(taken, list) else ():
            if not info.valid_data or self._stopped.is_set() or subscription.closed:
                continue
            try:
                subscription.callback(memoryview(cdr))
            except Exception:
                self._log.exception(f"callback of {subscription.topic} failed")

    def _meet_peers(self) -> None:
        """Note who came and went, and say what does not fit."""
        with self._lock:
            if self._stopped.is_set():
                return
            for reader, is_publisher in zip(self._peer_readers, (True, False), strict=True):
                for endpoint in reader.take(1000):
                    self._meet(endpoint, is_publisher)
            for publisher in self._publishers:
                status = publisher._writer.get_offered_incompatible_qos_status()
                if status.total_count_change:
                    policy = status.last_policy_id
                    self._peers.qos_refused(publisher._topic, policy, is_publisher=True)
            for subscription in self._subscriptions:
                status = subscription.reader.get_requested_incompatible_qos_status()
                if status.total_count_change:
                    policy = status.last_policy_id
                    self._peers.qos_refused(
                        subscription.topic,
                        policy,
                        is_publisher=False,
                        parameter=subscription.qos.parameter,
                    )

    def _meet(self, endpoint: Any, is_publisher: bool) -> None:
        if endpoint.sample_info.instance_state != InstanceState.Alive:
            self._peers.left(endpoint.key)
            return
        has_user_data = Policy.Userdata in endpoint.qos
        user_data = endpoint.qos[Policy.Userdata].data if has_user_data else b""
        type_hash = discovery.type_hash_of(user_data)
        qos = endpoint.qos
        is_reliable = Policy.Reliability in qos and isinstance(
            qos[Policy.Reliability], Policy.Reliability.Reliable
        )
        is_kept = Policy.Durability in qos and qos[Policy.Durability] != Policy.Durability.Volatile
        peer = Peer(
            endpoint.topic_name,
            endpoint.type_name,
            type_hash,
            is_publisher,
            "reliable" if is_reliable else "best_effort",
            "transient_local" if is_kept else "volatile",
        )
        self._peers.met(endpoint.key, peer)


def _participant(domain_id: int) -> DomainParticipant:
    qos = DdsQos(Policy.Userdata(discovery.PARTICIPANT_USER_DATA))
    try:
        with cyclone_environment():
            return DomainParticipant(domain_id, qos)
    except DDSException as error:
        raise RuntimeError(
            f"cannot join DDS domain {domain_id} ({error}): is a network interface up, "
            f"and are CYCLONEDDS_URI and {INTERFACES} right, if they are set?"
        ) from error


def _dds_qos(qos: Qos, user_data: bytes) -> DdsQos:
    history = Policy.History.KeepLast(qos.depth)
    policies: list[Any] = [
        history,
        Policy.Reliability.Reliable(_MAX_BLOCKING_TIME)
        if qos.reliability == "reliable"
        else Policy.Reliability.BestEffort,
        Policy.DataRepresentation(use_cdrv0_representation=True),  # XCDR1: all that ROS speaks
        Policy.WriterDataLifecycle(autodispose=False),
        Policy.Userdata(user_data),
    ]
    if qos.durability == "transient_local":
        policies += [
            Policy.Durability.TransientLocal,
            Policy.DurabilityService(0, history, -1, -1, -1),  # what late subscribers are given
        ]
    return DdsQos(*policies)


_IDL_NUMBERS: dict[str, Any] = {
    "bool": bool,
    "byte": idl_types.byte,
    "char": idl_types.uint8,
    **{f"int{bits}": getattr(idl_types, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(idl_types, f"uint{bits}") for bits in (8, 16, 32, 64)},
    "float32": idl_types.float32,
    "float64": idl_types.float64,
}


@cache
def _idl_class(distro: str, type_name: str) -> Any:
    """Cyclone's description of a ROS message.

    It serves discovery (peers with XTypes compare definitions) and lets Cyclone refuse malformed
    bytes in C. No object of it is ever made: its Python decoder takes 60 ms for a 720p image.
    """
    fields = Typestore(distro).fields(type_name)
    members = {name: _idl_field(distro, kind) for name, kind in fields}
    dds_name = discovery.dds_type(type_name).replace("::", ".")
    return idl.make_idl_struct(dds_name.split(".")[-1], dds_name, members, dataclassify=False)


def _idl_field(distro: str, field: FieldType) -> Any:
    kind, detail = field
    if kind == Nodetype.NAME:
        return _idl_class(distro, detail)
    if kind == Nodetype.BASE:
        name, bound = detail
        if name == "string":
            return idl_types.bounded_str[bound] if bound else str
        if name not in _IDL_NUMBERS:
            raise ValueError(f"fields of type {name} cannot be sent without ROS")
        return _IDL_NUMBERS[name]
    item, length = _idl_field(distro, detail[0]), detail[1]
    if kind == Nodetype.ARRAY:
        return idl_types.array[item, length]
    return idl_types.sequence[(item, length) if length else item]
