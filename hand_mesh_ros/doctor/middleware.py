"""RMW, domain and sockets: whether nodes can find each other, and images get through."""

from __future__ import annotations

from collections.abc import Mapping

from hand_mesh_ros.doctor.finding import Finding, failure, ok, warning
from hand_mesh_ros.ros.dds_config import INTERFACES, domain_id_of, small_buffer_warning

_DDS = ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp", "rmw_cyclonedds_cpp", "rmw_connextdds")


def rmw(environment: Mapping[str, str]) -> Finding:
    """Whether ROS speaks DDS, as a node without ROS does."""
    name = environment.get("RMW_IMPLEMENTATION", "")
    if not name:
        return ok("rmw", "RMW_IMPLEMENTATION is not set: the distribution's default")
    if name in _DDS:
        return ok("rmw", name)
    return warning(
        "rmw",
        f"{name} is no DDS: a node without ROS (hand-mesh run) and ROS nodes do not meet",
        "export RMW_IMPLEMENTATION=rmw_cyclonedds_cpp, or run the node in ROS",
    )


def domain(environment: Mapping[str, str]) -> Finding:
    """The DDS domain, and how far discovery reaches."""
    try:
        number = domain_id_of(environment)
    except ValueError as error:
        return failure("domain", str(error), "export ROS_DOMAIN_ID=0, on all machines alike")
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if environment.get("ROS_LOCALHOST_ONLY") == "1" and not reach:
        reach = "LOCALHOST"
    if reach == "OFF":
        return warning(
            "domain",
            f"{number}, but ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no node finds another",
            "unset ROS_AUTOMATIC_DISCOVERY_RANGE, or set it to SUBNET or LOCALHOST",
        )
    text = f"{number}, {'this machine alone' if reach == 'LOCALHOST' else 'the subnet'}"
    for variable in (INTERFACES, "ROS_STATIC_PEERS", "CYCLONEDDS_URI"):
        if environment.get(variable):
            text += f"; {variable} is set"
    return ok("domain", text)


def sockets(warning_text: str | None) -> Finding:
    """Whether the kernel's receive buffer holds an image.

    Args:
        warning_text: of `small_buffer_warning`.
    """
    if warning_text is None:
        return ok("sockets", "net.core.rmem_max holds a 720p frame")
    text, _, mend = warning_text.rpartition("; ")
    return warning("sockets", text, mend)


def sockets_here() -> Finding:
    """Of this machine."""
    return sockets(small_buffer_warning())
