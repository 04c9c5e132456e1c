"""Settings of Cyclone DDS under which camera images get through; the environment's wishes."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import quoteattr

FRAME_BYTES = 1280 * 720 * 3
_RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
# One fragment a datagram, as large as a memory page: the kernel charges a datagram to the receive
# buffer by the memory it takes. With Ubuntu's 208 KiB buffer and 30 frames of 720p a second, two
# thirds of them arrive (best effort) or all (reliable); with Cyclone's own 14,720 B datagrams of
# 1344 B fragments, next to none. Datagrams of 65,000 B cost the sender a third of the time (1 ms a
# frame), but need a buffer that holds a whole frame.
_MESSAGE_BYTES, _FRAGMENT_BYTES = 4096, 4000
MAX_DOMAIN_ID = 232
INTERFACES = "HAND_MESH_INTERFACES"
"""Environment: names or addresses of the network interfaces to use, with commas; "lo": none."""
_REACH = ("CYCLONEDDS_URI", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", INTERFACES)
_environment_lock = threading.Lock()


def domain_id_of(environment: Mapping[str, str], given: int | None = None) -> int:
    """The given domain, else ROS_DOMAIN_ID, else 0; raises ValueError."""
    name = "ROS_DOMAIN_ID" if given is None else "domain_id"
    text = environment.get("ROS_DOMAIN_ID", "").strip() or "0" if given is None else str(given)
    if not (text.isdecimal() and int(text) <= MAX_DOMAIN_ID):
        raise ValueError(f"{name} is {text!r}, expected a number from 0 to {MAX_DOMAIN_ID}")
    return int(text)


def cyclone_config(environment: Mapping[str, str]) -> str:
    """Value for CYCLONEDDS_URI: the user's own if there is one, else XML made for images.

    ROS_AUTOMATIC_DISCOVERY_RANGE (SUBNET, LOCALHOST, OFF), ROS_LOCALHOST_ONLY and ROS_STATIC_PEERS
    mean what they mean to ROS's own middleware. HAND_MESH_INTERFACES chooses network interfaces.
    """
    if environment.get("CYCLONEDDS_URI"):
        return environment["CYCLONEDDS_URI"]
    discovery_range = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if environment.get("ROS_LOCALHOST_ONLY") == "1" and not discovery_range:
        discovery_range = "LOCALHOST"
    interfaces = [name.strip() for name in environment.get(INTERFACES, "").split(",")]
    interfaces = [name for name in interfaces if name]
    only_loopback = bool(interfaces) and all(_is_loopback(name) for name in interfaces)
    is_local, is_off = discovery_range == "LOCALHOST" or only_loopback, discovery_range == "OFF"
    peers = [] if is_off else environment.get("ROS_STATIC_PEERS", "").split(";")
    peers_xml = "".join(f"<Peer Address={quoteattr(peer)}/>" for peer in peers if peer)
    # Multicast is for finding each other. Images go to each subscriber alone: two of them on this
    # machine must not put 80 MB/s on the network. Localhost is asked as well, because firewalls
    # drop multicast, and asking needs participants at known ports (ParticipantIndex).
    return (
        f"<CycloneDDS><Domain><General>{_interfaces_xml(interfaces)}"
        f"<AllowMulticast>{'false' if is_local or is_off else 'spdp'}</AllowMulticast>"
        f"<MaxMessageSize>{_MESSAGE_BYTES}B</MaxMessageSize>"
        f"<FragmentSize>{_FRAGMENT_BYTES}B</FragmentSize>"
        "</General><Discovery><ParticipantIndex>auto</ParticipantIndex>"
        f"<Peers AddLocalhost='{'false' if is_off else 'true'}'>{peers_xml}</Peers>"
        "</Discovery><Internal>"
        f"<SocketReceiveBufferSize max='{_RECEIVE_BUFFER_BYTES}B'/>"
        "</Internal></Domain></CycloneDDS>"
    )


def _interfaces_xml(names: Sequence[str]) -> str:
    """Cyclone takes the best interface where none is named."""
    rows = [
        f"<NetworkInterface {'address' if _is_address(name) else 'name'}={quoteattr(name)}/>"
        for name in names
    ]
    return f"<Interfaces>{''.join(rows)}</Interfaces>" if rows else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return ipaddress.ip_address(name).is_loopback if _is_address(name) else name == "lo"


def stay_on_this_machine(environment: MutableMapping[str, str]) -> None:
    """Find and be found on this machine alone, unless the user has said how far to reach."""
    if not any(environment.get(name) for name in _REACH):
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@contextmanager
def cyclone_environment() -> Iterator[None]:
    """Let Cyclone read `cyclone_config` if it creates a domain meanwhile.

    Its `Domain` object would take XML too, but would have to outlive every participant in the
    process; a domain that is created along with its first participant goes with the last.
    """
    with _environment_lock:
        previous = os.environ.get("CYCLONEDDS_URI")
        os.environ["CYCLONEDDS_URI"] = cyclone_config(os.environ)
        try:
            yield
        finally:
            if previous is None:
                del os.environ["CYCLONEDDS_URI"]
            else:
                os.environ["CYCLONEDDS_URI"] = previous


def small_buffer_warning(rmem_max: Path = _RMEM_MAX) -> str | None:
    """What to tell a user whose kernel cannot hold one 720p frame; None if all is well."""
    try:
        limit_bytes = int(rmem_max.read_text())
    except (OSError, ValueError):
        return None  # not Linux: nothing known, nothing to say
    if limit_bytes >= FRAME_BYTES:
        return None
    return (
        f"net.core.rmem_max is {limit_bytes} B, less than a 720p frame ({FRAME_BYTES} B): images "
        "from other processes will get lost; "
        f"sudo sysctl -w net.core.rmem_max={_RECEIVE_BUFFER_BYTES} mends it until the next boot"
    )
