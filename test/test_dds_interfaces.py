"""Where DDS speaks: on chosen interfaces, and for the demo on this machine alone."""

import os
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("cyclonedds", reason="needs Cyclone DDS: pip install cyclonedds")

from dds_peers import Peer, free_domain

from hand_mesh_ros.cli import demo
from hand_mesh_ros.ros.dds_config import cyclone_config, stay_on_this_machine

HEADER = "std_msgs/msg/Header"


def interfaces(environment):
    """(attribute, value) of each interface in the configuration."""
    xml = ElementTree.fromstring(cyclone_config(environment))
    return [item for row in xml.iter("NetworkInterface") for item in row.attrib.items()]


def multicast(environment):
    return ElementTree.fromstring(cyclone_config(environment)).findtext(".//AllowMulticast")


def test_interfaces_are_chosen_by_name_or_address():
    assert interfaces({}) == []
    chosen = {"HAND_MESH_INTERFACES": "eth0, 192.168.1.5,"}
    assert interfaces(chosen) == [("name", "eth0"), ("address", "192.168.1.5")]
    assert multicast(chosen) == "spdp"
    odd = {"HAND_MESH_INTERFACES": "a'b\"<c>"}
    assert interfaces(odd) == [("name", "a'b\"<c>")]


@pytest.mark.parametrize("name", ["lo", "127.0.0.1", "::1", "lo,127.0.0.1"])
def test_loopback_alone_needs_no_multicast(name):
    assert multicast({"HAND_MESH_INTERFACES": name}) == "false"


def test_the_demo_stays_here_unless_the_user_says_how_far_to_reach():
    environment = {}
    stay_on_this_machine(environment)
    assert environment == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    assert multicast(environment) == "false"
    for said in (
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"ROS_LOCALHOST_ONLY": "0"},
        {"CYCLONEDDS_URI": "file:///my.xml"},
        {"HAND_MESH_INTERFACES": "eth0"},
    ):
        environment = dict(said)
        stay_on_this_machine(environment)
        assert environment == said


@pytest.mark.parametrize(("options", "expected"), [([], "LOCALHOST"), (["--network"], None)])
def test_the_demo_s_processes_inherit_it(monkeypatch, options, expected):
    import argparse

    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "CYCLONEDDS_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))

    class Reached(Exception):  # noqa: N818
        pass

    def stop(args):
        raise Reached

    monkeypatch.setattr(demo, "make_source", stop)
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    with pytest.raises(Reached):
        demo.run(parser.parse_args(options))
    assert os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == expected


def test_two_nodes_on_the_loopback_interface_hear_each_other(monkeypatch):
    if not Path("/sys/class/net/lo").exists():
        pytest.skip("no interface lo here")
    monkeypatch.setenv("HAND_MESH_INTERFACES", "lo")
    monkeypatch.delenv("CYCLONEDDS_URI", raising=False)
    domain = free_domain()
    message = bytes.fromhex("00010000010000000200000002000000610000 00".replace(" ", ""))
    with Peer(domain) as a, Peer(domain) as b:
        a.publisher("/x", HEADER)
        b.subscribe("/x", HEADER)
        a.wait_for_subscribers("/x", 1)
        a.publish("/x", message)
        assert b.next_message()[1] == message


def test_an_interface_that_is_not_there_gets_a_clear_line(monkeypatch):
    from hand_mesh_ros.ros.dds_graph import DdsGraph

    monkeypatch.setenv("HAND_MESH_INTERFACES", "no_such_interface")
    monkeypatch.delenv("CYCLONEDDS_URI", raising=False)
    with pytest.raises(RuntimeError, match="HAND_MESH_INTERFACES right"):
        DdsGraph("n", domain_id=free_domain())


def _can_make_networks():
    command = ["unshare", "--user", "--map-root-user", "--net", "true"]
    return shutil.which("ip") and shutil.which("unshare") and not subprocess.call(command)


@pytest.mark.skipif(not _can_make_networks(), reason="needs unshare --net")
@pytest.mark.parametrize(("reach", "sent"), [("LOCALHOST", False), ("SUBNET", True)])
def test_nothing_leaves_the_machine_in_the_demos_setting(reach, sent):
    """A network of our own whose only way out counts what goes out."""
    script = """
        ip link set lo up
        ip link add out type veth peer name away
        echo 1 > /proc/sys/net/ipv6/conf/out/disable_ipv6
        ip addr add 10.9.8.7/24 dev out
        ip link set away up
        ip link set out up
        exec "$0" -c "$1" "$2" "$3"
    """
    program = """
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from dds_peers import Peer
        out = Path("/proc/net/dev")
        def packets():
            row = next(l for l in out.read_text().splitlines() if l.strip().startswith("out:"))
            return int(row.split()[10])
        with Peer(sys.argv[1]) as a, Peer(sys.argv[1]) as b:
            a.publisher("/x", "std_msgs/msg/Header")
            b.subscribe("/x", "std_msgs/msg/Header")
            a.wait_for_subscribers("/x", 1)
            time.sleep(0.3)
        print(packets())
    """
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", textwrap.dedent(script)]
    here = os.path.dirname(__file__)
    environment = {k: v for k, v in os.environ.items() if k not in ("CYCLONEDDS_URI",)}
    done = subprocess.run(
        [*command, sys.executable, textwrap.dedent(program), str(free_domain()), here],
        capture_output=True,
        text=True,
        env={**environment, "ROS_AUTOMATIC_DISCOVERY_RANGE": reach},
        timeout=60,
    )
    if "RTNETLINK" in done.stderr or "Unknown device" in done.stderr:
        pytest.skip("no virtual network interfaces here")
    assert done.returncode == 0, done.stderr
    packets = int(done.stdout)
    assert (packets > 0) == sent, packets
