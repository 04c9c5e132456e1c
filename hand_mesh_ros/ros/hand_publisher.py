"""Everything that the node publishes about hands, each with the image's own stamp and frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.hand_model import HandModel
from hand_mesh_ros.joint_angles import JointAngles
from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.graph import Graph, Publisher, Qos
from hand_mesh_ros.ros.image_preview import ImagePreview
from hand_mesh_ros.ros.marker_encoder import MARKER_ARRAY
from hand_mesh_ros.ros.markers import HandMarkers, MarkerColors
from hand_mesh_ros.ros.named_hands import NamedHands
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.throttled_log import ThrottledLog
from hand_mesh_ros.ros.typestore import Typestore
from hand_mesh_ros.types import Frame, Hand, Result
from hand_mesh_ros.viewer.overlay import draw_overlay

_HAND_MESH = "hand_mesh_ros/msg/HandMesh"
_HAND_MESH_ARRAY = "hand_mesh_ros/msg/HandMeshArray"
_HAND_TOPOLOGY = "hand_mesh_ros/msg/HandTopology"
_JOINT_STATE = "sensor_msgs/msg/JointState"
_TF = "tf2_msgs/msg/TFMessage"
_CLOUD = "sensor_msgs/msg/PointCloud2"
_IMAGE = "sensor_msgs/msg/Image"


class HandPublisher:
    """Meshes and frames always; joint states, markers and pictures while somebody looks."""

    def __init__(
        self, graph: Graph, store: Typestore, hand_model: HandModel, log: ThrottledLog
    ) -> None:
        self._store, self._hand_model, self._log = store, hand_model, log
        self._named_hands = NamedHands()
        self._markers = HandMarkers(store, hand_model)
        self._joint_angles: JointAngles | None = None
        self._drawn_tracks: set[int] = set()
        self._last_image: tuple[int, str] | None = None
        """Stamp and frame of what was published last."""
        self._right_faces = messages.faces_of(hand_model, Side.RIGHT)
        reliable, latched = Qos(), Qos(durability="transient_local", depth=1)
        self._to_hand_meshes = graph.publisher("hand_meshes", _HAND_MESH_ARRAY, reliable)
        self._to_hand_mesh = graph.publisher("hand_mesh", _HAND_MESH, reliable)
        self._to_topology = graph.publisher("hand_topology", _HAND_TOPOLOGY, latched)
        self._to_tf = graph.publisher("/tf", _TF, Qos(depth=100))
        self._to_hypotheses = graph.publisher("hand_hypotheses", _HAND_MESH_ARRAY, reliable)
        self._to_joint_states = graph.publisher("hand_joint_states", _JOINT_STATE, reliable)
        self._to_markers = graph.publisher("hand_markers", MARKER_ARRAY, reliable)
        self._to_detections = graph.publisher("hand_detections", _CLOUD, reliable)
        self._to_overlay = graph.publisher("hand_overlay", _IMAGE, Qos(depth=1))
        self._preview = ImagePreview(graph, store)

    def publish_topology(self) -> None:
        """Send what never changes; it is kept for those who come later."""
        self._send(self._to_topology, messages.hand_topology(self._store, self._hand_model))

    def publish(
        self, frame: Frame, result: Result, parameters: NodeParameters, latency_s: float
    ) -> None:
        """Send the hands of one frame; `latency_s` is the time since the image arrived."""
        store, stamp_ns, frame_id = self._store, frame.stamp_ns, frame.frame_id
        hands, self._last_image = result.hands, (stamp_ns, frame_id)
        array = messages.hand_mesh_array(store, result, latency_s)
        self._send(self._to_hand_meshes, array)
        for mesh in array.hands:
            self._send(self._to_hand_mesh, mesh)
        owners = self._named_hands.update(hands)
        self._publish_tf(owners, stamp_ns, frame_id, parameters)
        if owners and self._to_joint_states.subscriber_count:
            if self._joint_angles is None:
                self._joint_angles = JointAngles(self._hand_model)
            joints = messages.joint_states(store, self._joint_angles, owners, stamp_ns, frame_id)
            self._send(self._to_joint_states, joints)
        if parameters.num_hypotheses > 1:
            several = replace(result, hands=result.hypotheses)
            self._send(self._to_hypotheses, messages.hand_mesh_array(store, several, latency_s))
        if parameters.publish_markers and self._to_markers.subscriber_count:
            self._delete_lost_markers(hands, stamp_ns, frame_id)
            if hands:
                markers = self._markers.encode(
                    hands,
                    stamp_ns,
                    frame_id,
                    colors=cast(MarkerColors, parameters.marker_colors),
                    hypotheses=result.hypotheses,
                )
                self._to_markers.publish(markers)
        if self._to_detections.subscriber_count:
            cloud = messages.detection_cloud(store, result.detections, stamp_ns, frame_id)
            self._send(self._to_detections, cloud)
        if self._to_overlay.subscriber_count:
            picture = draw_overlay(frame.image, hands, frame.camera, self._right_faces)
            overlay = messages.image_message(store, picture, stamp_ns, frame_id)
            self._send(self._to_overlay, overlay)
        self._preview.publish(frame)

    def forget_names(self) -> None:
        """Let the next hands take the names of frames afresh."""
        self._named_hands.reset()

    def delete_markers(self) -> None:
        """Delete what is drawn, as of the last image."""
        if self._last_image is not None:
            self._delete_lost_markers((), *self._last_image)

    def _publish_tf(
        self, owners: list[Hand], stamp_ns: int, frame_id: str, parameters: NodeParameters
    ) -> None:
        if not owners or not parameters.publish_tf:
            return
        if not frame_id:
            self._log.warning("image header.frame_id is empty: tf needs a parent, so none is sent")
            return
        prefix = parameters.tf_prefix
        transforms = messages.tf_message(self._store, owners, stamp_ns, frame_id, prefix)
        self._send(self._to_tf, transforms)

    def _delete_lost_markers(self, hands: tuple[Hand, ...], stamp_ns: int, frame_id: str) -> None:
        seen = {hand.track_id for hand in hands}
        lost = sorted(self._drawn_tracks - seen)
        self._drawn_tracks = seen
        if lost:
            self._to_markers.publish(self._markers.encode_deletion(lost, stamp_ns, frame_id))

    def _send(self, publisher: Publisher, message: Any) -> None:
        publisher.publish(self._store.encode(message))
