"""What to say when a publisher and a subscription do not fit, and what helps."""

from __future__ import annotations

_MENDS = {
    "durability": "publish transient_local, or subscribe volatile",
    "deadline": "subscribe without a deadline",
    "ownership": "use shared ownership",
    "liveliness": "subscribe with automatic liveliness",
    "reliability": "publish reliable, or subscribe best_effort",
    "data representation": "use XCDR1 (plain CDR), as ROS 2 does",
    "type consistency": "build both sides from the same message definition",
}


def qos_warning(topic: str, policy: str, *, is_publisher: bool, parameter: str = "") -> str:
    """One line for the log.

    Args:
        topic: absolute ROS name.
        policy: name of the policy, in small letters.
        is_publisher: whether this node is the publisher.
        parameter: name of the node's parameter that chooses the reliability, if there is one.
    """
    mend = _MENDS.get(policy, "compare both sides in ros2 topic info -v")
    if is_publisher:
        return f"a subscriber on {topic} asks for more {policy} than this node offers; {mend}"
    if policy == "reliability" and parameter:
        mend = f"set this node's parameter {parameter} to best_effort, or publish reliable"
    return f"this node asks for more {policy} on {topic} than a publisher offers; {mend}"
