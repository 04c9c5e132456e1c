"""The SROS 2 policy allows what the node uses, and nothing else."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from fake_pipeline import FakePipeline

from hand_mesh_ros.ros.node import HandMeshNode
from hand_mesh_ros.ros.parameters import NodeParameters

POLICY = Path(__file__).parents[1] / "config" / "sros2" / "policy.xml"
# What rcl gives every node, and every lifecycle node (ROS 2 Humble to Lyrical).
NODE_TOPICS = {
    "publish": {"/rosout", "/parameter_events", "~/transition_event"},
    "subscribe": {"/parameter_events", "/clock"},
}
NODE_SERVICES = {
    *("~/describe_parameters", "~/get_parameter_types", "~/get_parameters", "~/list_parameters"),
    *("~/set_parameters", "~/set_parameters_atomically", "~/get_type_description"),
    *("~/change_state", "~/get_state", "~/get_available_states", "~/get_available_transitions"),
    "~/get_transition_graph",
}


@pytest.fixture(scope="module")
def graphs():
    """What the node asks for with raw and with compressed images."""
    found = []
    for transport in ("raw", "compressed"):
        graph, parameters = FakeGraph(STORE), NodeParameters(image_transport=transport)
        node = HandMeshNode(graph, parameters, FakePipeline(), store=STORE)
        node.activate()
        found.append((dict(graph.subscriptions), graph.publishers, graph.services))
        node.close()
    return found


@pytest.fixture(scope="module")
def profile():
    policy = ElementTree.parse(POLICY).getroot()
    assert (policy.tag, policy.get("version")) == ("policy", "0.2.0")
    (enclave,) = policy.findall("enclaves/enclave")
    assert enclave.get("path") == "/hand_mesh"
    (profile,) = enclave.findall("profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", FakeGraph.node_name)
    return profile


def allowed(profile, kind, action):
    """Names that a profile allows; each once."""
    rows = [e for e in profile.findall(kind) if e.get(action) == "ALLOW"]
    names = [e.text.strip() for row in rows for e in row]
    assert len(names) == len(set(names)), "a name is there twice"
    return set(names)


def test_topics_are_the_nodes_own(profile, graphs):
    listened = set().union(*(subscriptions for subscriptions, _, _ in graphs))
    assert allowed(profile, "topics", "subscribe") == listened | NODE_TOPICS["subscribe"]
    published = set().union(*(publishers for _, publishers, _ in graphs))
    assert allowed(profile, "topics", "publish") == published | NODE_TOPICS["publish"]


def test_services_are_the_nodes_own_and_it_calls_none(profile, graphs):
    offered = set().union(*(services for _, _, services in graphs))
    assert allowed(profile, "services", "reply") == offered | NODE_SERVICES
    assert allowed(profile, "services", "request") == set()
    assert profile.findall("actions") == []


def test_parameters_are_reached_by_the_services_that_ros_has_for_them(profile):
    """SROS 2 knows no single parameters: who may call set_parameters may set all of them."""
    names = allowed(profile, "services", "reply")
    assert {"~/get_parameters", "~/set_parameters", "~/list_parameters"} <= names


def test_nothing_is_allowed_by_pattern(profile):
    texts = [e.text for row in profile for e in row]
    assert texts
    assert not [t for t in texts if any(c in t for c in "*?[]{}")]
    assert {e.tag for row in profile for e in row} == {"topic", "service"}


def test_every_row_is_one_that_sros2_knows(profile):
    for row in profile:
        actions = {"topics": {"publish", "subscribe"}, "services": {"reply", "request"}}[row.tag]
        assert set(row.attrib) <= actions
        assert set(row.attrib.values()) == {"ALLOW"}
