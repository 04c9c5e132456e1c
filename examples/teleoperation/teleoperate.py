"""Lead a robot's hand with one's own: hand_meshes in, joint targets out, by dex-retargeting.

Each target is published as sensor_msgs/JointState and printed as one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState, WaitSet
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from operator_hand import SIDES, leading_hand, operator_keypoints
from ros_types import message_type

SILENCE_S = 5.0
"""How long no message may come before that is said."""
LONGEST_STEP_S = 0.1
"""After a pause the joints move no further than in this time."""
QOS = Qos(
    Policy.Reliability.Reliable(duration(milliseconds=20)),
    Policy.History.KeepLast(1),
    Policy.DataRepresentation(use_cdrv0_representation=True),  # XCDR1: all that ROS speaks
)


def main() -> None:
    """Follow the hand until Ctrl-C."""
    args = _arguments()
    robot = _robot(args)
    names, limits = list(robot.joint_names), robot.optimizer.robot.joint_limits
    participant = DomainParticipant(args.domain)
    joint_state = message_type("sensor_msgs/JointState")
    writer = DataWriter(participant, _topic(participant, args.targets, joint_state), QOS)
    target, stamp_s, leader = None, 0.0, None
    for array in _messages(participant, args.topic):
        hand = leading_hand(array.hands, args.side, args.min_score, leader)
        if (new := None if hand is None else hand.track_id) != leader:
            leader = new
            _say(f"no {args.side} hand" if leader is None else f"{args.side} hand {leader} leads")
        if hand is None:
            continue  # whoever moves the robot sees that no target comes
        started_s = time.perf_counter()
        wanted = np.clip(_retargeted(robot, operator_keypoints(hand)), *limits.T)
        last_s, stamp_s = stamp_s, array.header.stamp.sec + 1e-9 * array.header.stamp.nanosec
        reach = args.max_speed * np.clip(stamp_s - last_s, 0.0, LONGEST_STEP_S)
        target = wanted if target is None else target + np.clip(wanted - target, -reach, reach)
        writer.write(joint_state(array.header, names, target.tolist(), [], []))
        line = {
            "stamp_s": stamp_s,
            "track_id": leader,
            "retarget_ms": round(1e3 * (time.perf_counter() - started_s), 2),
            "age_ms": round(1e3 * (time.time() - stamp_s), 1),
            "joints_rad": dict(zip(names, target.round(4).tolist(), strict=True)),
        }
        print(json.dumps(line), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--config", required=True, help="dex-retargeting's YAML, or a name: allegro_hand_right")
    add("--urdf", required=True, type=Path, help="of the robot's hand; its meshes are not read")
    add("--side", choices=SIDES, default="right", help="the hand that leads")
    add("--topic", default="/hand_meshes", help="to read")
    add("--targets", default="/robot_hand/joint_targets", help="topic to write")
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    add("--domain", type=int, default=domain, help="of DDS; ROS_DOMAIN_ID, or 0")
    add("--min-score", type=float, default=0.5, help="of a hand that may lead")
    add("--max-speed", type=float, default=8.0, help="of a joint, rad/s")
    add("--low-pass", type=float, default=1.0, help="dex-retargeting's low_pass_alpha; 1: none")
    return parser.parse_args()


def _robot(args: argparse.Namespace) -> Any:
    """dex-retargeting for this robot's hand."""
    logging.getLogger("dex_retargeting.yourdfpy").setLevel(logging.ERROR)  # a line a missing mesh
    try:
        import dex_retargeting
        from dex_retargeting.retargeting_config import RetargetingConfig
    except ImportError as error:
        sys.exit(f"teleoperate: {error}: pip install -r requirements.txt, in its own environment")
    known = Path(str(dex_retargeting.__file__)).parent / "configs" / "teleop"
    path = known / f"{args.config}.yml"
    path = path if path.exists() else Path(args.config)
    if not path.exists():
        names = ", ".join(sorted(file.stem for file in known.glob("*.yml")))
        sys.exit(f"teleoperate: no file --config {args.config}, expected one or a name of {names}")
    changes = {"urdf_path": str(args.urdf.absolute()), "low_pass_alpha": args.low_pass}
    try:
        config = RetargetingConfig.load_from_file(path, changes)
        if config.type == "position":
            raise ValueError("type 'position' is for recordings: expected vector or dexpilot")
        return config.build()
    except Exception as error:  # YAML's, pinocchio's, ...: whatever the files break
        sys.exit(f"teleoperate: --config {path}, --urdf {args.urdf}: {error}")


def _retargeted(robot: Any, keypoints: np.ndarray) -> np.ndarray:
    """Joints, rad, for (21, 3) keypoints in the operator's frame."""
    origins, ends = robot.optimizer.target_link_human_indices
    with contextlib.redirect_stdout(sys.stderr):  # where its solver prints that it failed
        return robot.retarget(keypoints[ends] - keypoints[origins])


def _topic(participant: DomainParticipant, name: str, data_type: Any) -> Topic[Any]:
    return Topic(participant, f"rt/{name.removeprefix('/')}", data_type)


def _messages(participant: DomainParticipant, name: str) -> Iterator[Any]:
    """Each newest HandMeshArray, for ever."""
    topic = _topic(participant, name, message_type("hand_mesh_ros/HandMeshArray"))
    reader = DataReader(participant, topic, QOS)
    alive = ReadCondition(reader, ViewState.Any | InstanceState.Alive | SampleState.NotRead)
    news = WaitSet(participant)
    news.attach(alive)
    heard_s = time.monotonic()
    while True:
        news.wait(duration(milliseconds=200))
        for array in reader.take(condition=alive):
            heard_s = time.monotonic()
            yield array
        if time.monotonic() > heard_s + SILENCE_S:
            heard_s = np.inf  # once
            _say(f"nothing on {name}: is hand_mesh_ros running, in the same ROS_DOMAIN_ID?")


def _say(text: str) -> None:
    print(f"teleoperate: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
