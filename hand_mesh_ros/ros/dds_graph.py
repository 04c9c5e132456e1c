"""A real ROS 2 node without ROS: Cyclone DDS from its wheel, messages as CDR bytes."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from rosbags.interfaces import Nodetype

from hand_mesh_ros.ros import discovery
from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.dds_config import cyclone_config, domain_id_of, small_buffer_warning
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.ros_log import node_logger
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
_environment_lock = threading.Lock()


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
        if self.closed:
            return 0
        return self._writer.get_publication_matched_status().current_count

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
                self._log.warning(f"a reliable subscriber of {self._topic} does not keep up: dropping")
        elif status == DDSException.DDS_RETCODE_BAD_PARAMETER and not self.closed:
            raise ValueError(f"{len(cdr)} bytes for {self._topic} are no {self._type_name}")
        elif status < 0 and not self.closed:
            raise RuntimeError(f"cannot publish on {self._topic}: {DDSException(status)}")


@dataclass(frozen=True, eq=False)
class _Subscription:
    reader: DataReader
    topic: str
    depth: int
    callback: Callable[[memoryview], None]


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
        self._signalled = False
        self._said: set[str] = set()
        self._topics: dict[str, Topic[Any]] = {}
        self._types: dict[str, str] = {}  # ROS type by DDS topic
        self._peers: dict[UUID, discovery.Peer] = {}
        self._publishers: list[DdsPublisher] = []
        self._subscriptions: list[_Subscription] = []

        domain = domain_id_of(os.environ) if domain_id is None else domain_id
        self._participant = _participant(domain)
        self._entities: list[Entity] = [self._participant]
        # Made first, so that a peer is known before what it sends is looked at.
        self._peer_readers = [
            self._own(BuiltinDataReader(self._participant, topic))
            for topic in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription)
        ]
        self._announcer = self._announcing_writer()
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
    ) -> None:
        """Call back with each message's CDR bytes; what the callback raises is logged."""
        with self._lock:
            name, dds_topic = self._topic(topic, type_name)
            reader = self._own(DataReader(self._participant, dds_topic, self._qos(qos, type_name)))
            self._subscriptions.append(_Subscription(reader, name, qos.depth, callback))
            self._watch(reader, DDSStatus.RequestedIncompatibleQos)
            self._waitset.attach(self._unread(reader))
        if type_name == "sensor_msgs/msg/Image" and (warning := small_buffer_warning()):
            self._say_once(warning)

    def now_ns(self) -> int:
        """Time of the system's clock."""
        return time.time_ns()

    def spin(self) -> None:
        """Serve until `shutdown`, SIGINT or SIGTERM."""
        in_main = threading.current_thread() is threading.main_thread()
        signals = (signal.SIGINT, signal.SIGTERM) if in_main else ()
        previous = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            # A handler must not touch the Event that it may have interrupted: so it is polled.
            while not self._signalled and not self._stopped.wait(0.1):
                pass
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

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

    def _on_signal(self, number: int, frame: object) -> None:
        self._signalled = True

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
        dds_name = discovery.dds_topic(name)
        present = self._types.setdefault(dds_name, type_name)
        if present != type_name:
            raise ValueError(f"topic {name} is already used here with {present}, not {type_name}")
        if dds_name not in self._topics:
            data_type = _idl_class(self._store, type_name)
            self._topics[dds_name] = self._own(Topic(self._participant, dds_name, data_type))
        return name, self._topics[dds_name]

    def _qos(self, qos: Qos, type_name: str) -> DdsQos:
        return _dds_qos(qos, discovery.endpoint_user_data(self._store, type_name))

    def _watch(self, endpoint: DataReader | DataWriter, status: int) -> None:
        """Tell peers of a new endpoint, and be told of peers that do not fit it."""
        endpoint.set_status_mask(status)
        self._waitset.attach(endpoint)
        self._announce()
        self._compare_types()

    def _announcing_writer(self) -> DataWriter:
        data_type = _idl_class(self._store, discovery.DISCOVERY_TYPE)
        topic = self._own(Topic(self._participant, discovery.DISCOVERY_TOPIC, data_type))
        qos = self._qos(discovery.DISCOVERY_QOS, discovery.DISCOVERY_TYPE)
        return self._own(DataWriter(self._participant, topic, qos))

    def _announce(self) -> None:
        info = discovery.participant_info(
            self._store,
            self._participant.guid.bytes,
            (self.namespace, self.node_name),
            readers=[subscription.reader.guid.bytes for subscription in self._subscriptions],
            writers=[publisher._writer.guid.bytes for publisher in self._publishers],
        )
        topic, type_name = discovery.DISCOVERY_TOPIC, discovery.DISCOVERY_TYPE
        DdsPublisher(self._announcer, topic, type_name, self._log).publish(info)

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

    def _deliver(self, subscription: _Subscription) -> None:
        if self._stopped.is_set():
            return
        taken = ddspy_take(subscription.reader._ref, _ANY_STATE, subscription.depth)
        for cdr, info in taken if isinstance(taken, list) else ():
            if not info.valid_data or self._stopped.is_set():
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
                    self._note(endpoint, is_publisher)
            self._compare_types()
            for publisher in self._publishers:
                status = publisher._writer.get_offered_incompatible_qos_status()
                self._compare_qos(publisher._topic, status, is_publisher=True)
            for subscription in self._subscriptions:
                status = subscription.reader.get_requested_incompatible_qos_status()
                self._compare_qos(subscription.topic, status, is_publisher=False)

    def _note(self, endpoint: Any, is_publisher: bool) -> None:
        if endpoint.sample_info.instance_state != InstanceState.Alive:
            self._peers.pop(endpoint.key, None)
        elif (endpoint.topic_name or "").startswith("rt/"):
            has_user_data = Policy.Userdata in endpoint.qos
            user_data = endpoint.qos[Policy.Userdata].data if has_user_data else b""
            self._peers[endpoint.key] = discovery.Peer(
                endpoint.topic_name,
                endpoint.type_name,
                discovery.type_hash_of(user_data),
                is_publisher,
            )

    def _compare_types(self) -> None:
        for peer in self._peers.values():
            if conflict := discovery.type_conflict(peer, self._types, self._store):
                self._say_once(conflict)

    def _compare_qos(self, topic: str, status: Any, *, is_publisher: bool) -> None:
        if status.total_count_change:
            policy = status.last_policy_id
            self._say_once(discovery.qos_conflict(topic, policy, is_publisher=is_publisher))

    def _say_once(self, warning: str) -> None:
        if warning not in self._said:
            self._said.add(warning)
            self._log.warning(warning)


def _participant(domain_id: int) -> DomainParticipant:
    qos = DdsQos(Policy.Userdata(discovery.PARTICIPANT_USER_DATA))
    try:
        with _cyclone_environment(cyclone_config(os.environ)):
            return DomainParticipant(domain_id, qos)
    except DDSException as error:
        raise RuntimeError(
            f"cannot join DDS domain {domain_id} ({error}): is a network interface up (at least lo), "
            "and is CYCLONEDDS_URI right, if it is set?"
        ) from error


@contextmanager
def _cyclone_environment(config: str) -> Iterator[None]:
    """Let Cyclone read `config` when it creates a domain.

    A `Domain` object would take it too, but would have to outlive every participant of the process;
    one that is created along with its first participant goes with the last.
    """
    with _environment_lock:
        previous = os.environ.get("CYCLONEDDS_URI")
        os.environ["CYCLONEDDS_URI"] = config
        try:
            yield
        finally:
            if previous is None:
                del os.environ["CYCLONEDDS_URI"]
            else:
                os.environ["CYCLONEDDS_URI"] = previous


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
def _idl_class(store: Typestore, type_name: str) -> Any:
    """Cyclone's description of a ROS message.

    It serves discovery (peers with XTypes compare definitions) and lets Cyclone refuse malformed
    bytes in C. No object of it is ever made: its Python decoder is 60 times slower than the network.
    """
    fields = {name: _idl_field(store, kind) for name, kind in store.fields(type_name)}
    dds_name = discovery.dds_type(type_name).replace("::", ".")
    return idl.make_idl_struct(dds_name.split(".")[-1], dds_name, fields, dataclassify=False)


def _idl_field(store: Typestore, field: FieldType) -> Any:
    kind, detail = field
    if kind == Nodetype.NAME:
        return _idl_class(store, detail)
    if kind == Nodetype.BASE:
        name, bound = detail
        if name == "string":
            return idl_types.bounded_str[bound] if bound else str
        if name not in _IDL_NUMBERS:
            raise ValueError(f"fields of type {name} cannot be sent without ROS")
        return _IDL_NUMBERS[name]
    item, length = detail
    if kind == Nodetype.ARRAY:
        return idl_types.array[_idl_field(store, item), length]
    bounds = (length,) if length else ()
    return idl_types.sequence[(_idl_field(store, item), *bounds)]
