import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from dds_peers import Peer, Program, free_domain, wait_until

from hand_mesh_ros.ros.dds_config import cyclone_config, domain_id_of, small_buffer_warning
from hand_mesh_ros.ros.dds_graph import DdsGraph
from hand_mesh_ros.ros.graph import Qos
from hand_mesh_ros.ros.typestore import Typestore

STORE = Typestore("jazzy")
STRING = "std_msgs/msg/String"
IMAGE = "sensor_msgs/msg/Image"
DOMAIN = free_domain()


def string(text):
    return STORE.encode(STORE.type(STRING)(text))


def text_of(cdr):
    return STORE.decode(cdr, STRING).data


def image(width, height, seed=0):
    time = STORE.type("builtin_interfaces/msg/Time")(sec=1, nanosec=2)
    header = STORE.type("std_msgs/msg/Header")(stamp=time, frame_id="camera")
    data = np.random.default_rng(seed).integers(0, 256, 3 * width * height, np.uint8)
    return STORE.encode(STORE.type(IMAGE)(header, height, width, "rgb8", 0, 3 * width, data), IMAGE)


@pytest.fixture
def here():
    graph = DdsGraph("here", domain_id=DOMAIN)
    yield graph
    graph.shutdown()


@pytest.fixture(scope="module")
def peer():
    with Peer(DOMAIN) as peer:
        yield peer


def matched(publisher, count=1):
    wait_until(lambda: publisher.subscriber_count == count, f"{count} subscribers")


@pytest.mark.parametrize("text", ["", "a", "ab", "abc", "abcd", "Öhm ✋"])
def test_messages_of_every_length_modulo_four_arrive(here, peer, text):
    topic = f"/lengths_{len(text)}"
    publisher = here.publisher(topic, STRING, Qos())
    peer.subscribe(topic, STRING)
    matched(publisher)

    publisher.publish(string(text))

    arrived_on, cdr = peer.next_message()
    assert arrived_on == topic
    assert text_of(cdr) == text
    assert cdr[: len(string(text))] == string(text)  # the rest is padding


def test_messages_of_another_process_call_back_on_another_thread(here, peer):
    arrived = []
    peer.publisher("/to_here", STRING)
    here.subscribe("/to_here", STRING, Qos(), lambda cdr: arrived.append(cdr))
    peer.wait_for_subscribers("/to_here", 1)

    for number in range(10):
        peer.publish("/to_here", string(f"message {number}"))

    wait_until(lambda: len(arrived) == 10, "ten messages")
    assert [text_of(cdr) for cdr in arrived] == [f"message {number}" for number in range(10)]
    assert all(isinstance(cdr, memoryview) for cdr in arrived)


def test_a_720p_image_arrives_whole(here, peer):
    publisher = here.publisher("/camera/image_raw", IMAGE, Qos("best_effort", depth=1))
    peer.subscribe("/camera/image_raw", IMAGE, reliability="best_effort", depth=1)
    matched(publisher)
    sent = image(1280, 720)
    assert len(sent) > 1280 * 720 * 3

    publisher.publish(memoryview(sent))

    _, cdr = peer.next_message()
    assert hashlib.sha256(cdr).digest() == hashlib.sha256(sent).digest()


def test_the_newest_image_is_kept_and_none_waits(here, peer):
    publisher = here.publisher("/newest", STRING, Qos())
    peer.subscribe("/newest", STRING, reliability="best_effort", depth=1)
    matched(publisher)
    peer.tell("pause")
    publisher.publish(string("first"))
    assert text_of(peer.next_message()[1]) == "first"  # its callback is now held

    for number in range(5):
        publisher.publish(string(f"later {number}"))
    # By the time that the two have found each other on one more topic, those five have arrived.
    witness = []
    here.subscribe("/newest/done", STRING, Qos(), witness.append)
    peer.publisher("/newest/done", STRING)
    peer.wait_for_subscribers("/newest/done", 1)
    peer.publish("/newest/done", string("go on"))
    wait_until(lambda: witness, "the witness")
    peer.tell("resume")
    assert text_of(peer.next_message()[1]) == "later 4"

    publisher.publish(string("last"))
    assert text_of(peer.next_message()[1]) == "last"


def test_a_latched_message_reaches_who_comes_late_and_others_do_not(here):
    latched = here.publisher("/latched", STRING, Qos("reliable", "transient_local", depth=2))
    volatile = here.publisher("/volatile", STRING, Qos())
    for text in ("too old", "kept", "kept too"):
        latched.publish(string(text))
        volatile.publish(string(text))

    with Peer(DOMAIN) as late:
        late.subscribe("/volatile", STRING)
        matched(volatile)
        late.subscribe("/latched", STRING, durability="transient_local", depth=5)

        assert [text_of(late.next_message()[1]) for _ in range(2)] == ["kept", "kept too"]
        volatile.publish(string("now"))
        assert text_of(late.next_message()[1]) == "now"


def test_subscribers_are_counted_while_they_are_there(here, peer):
    publisher = here.publisher("/counted", STRING, Qos())
    assert publisher.subscriber_count == 0
    peer.subscribe("/counted", STRING)
    matched(publisher, 1)

    with Peer(DOMAIN) as second:
        second.subscribe("/counted", STRING)
        matched(publisher, 2)

    matched(publisher, 1)


def test_a_failing_callback_is_logged_and_the_next_message_comes(here):
    publisher = here.publisher("/fragile", STRING, Qos())
    with Peer(DOMAIN) as peer:
        peer.subscribe("/fragile", STRING)
        matched(publisher)

        publisher.publish(string("fail"))
        publisher.publish(string("fine"))

        assert text_of(peer.next_message()[1]) == "fine"
        assert "[ERROR]" in peer.log_line("callback of /fragile failed")
        assert peer.log_line("RuntimeError: told to fail")


@pytest.mark.parametrize("first", ["here", "peer"])
def test_a_topic_with_another_type_is_reported_once_and_passes_nothing(here, first):
    with Peer(DOMAIN) as peer:
        if first == "here":
            publisher = here.publisher("/confused", STRING, Qos())
            peer.subscribe("/confused", IMAGE)
        else:
            peer.subscribe("/confused", IMAGE)
            publisher = here.publisher("/confused", STRING, Qos())
        other = here.publisher("/not_confused", STRING, Qos())
        peer.subscribe("/not_confused", STRING)
        matched(other)

        line = peer.log_line("a publisher on /confused uses another type")
        assert f"{STRING}, here it is {IMAGE}" in line
        assert "[WARN]" in line
        assert publisher.subscriber_count == 0
        publisher.publish(string("not for the peer"))
        other.publish(string("for you"))

        topic, cdr = peer.next_message()
        assert (topic, text_of(cdr)) == ("/not_confused", "for you")
        assert len([entry for entry in peer.log if "another type" in entry]) == 1


def test_one_graph_cannot_use_a_topic_with_two_types(here):
    here.publisher("/twice", STRING, Qos())

    with pytest.raises(ValueError, match=r"/twice is already used here with std_msgs/msg/String"):
        here.subscribe("twice", IMAGE, Qos(), print)


def test_quality_of_service_that_does_not_fit_is_reported_with_its_mend(here):
    with Peer(DOMAIN) as peer:
        here.publisher("/lossy", STRING, Qos("best_effort"))
        peer.subscribe("/lossy", STRING, reliability="reliable")
        line = peer.log_line("this node asks for more reliability on /lossy")
        assert "subscribe best_effort" in line

        peer.publisher("/not_latched", STRING)
        here.subscribe("/not_latched", STRING, Qos("reliable", "transient_local"), print)
        line = peer.log_line("a subscriber on /not_latched asks for more durability")
        assert "publish transient_local" in line


def test_bytes_that_are_no_message_are_not_sent(here):
    publisher = here.publisher("/checked", STRING, Qos())

    with pytest.raises(ValueError, match="10 bytes for /checked are no std_msgs/msg/String"):
        publisher.publish(b"\0\1\0\0\xff\0\0\0ab")  # 255 letters announced, two there


def test_names_are_remapped_on_the_wire(peer):
    arguments = ["--ros-args", "-r", "__ns:=/robot", "-r", "image:=/camera/rgb", "-r", "/tf:=tf"]
    graph = DdsGraph("hand_mesh", domain_id=DOMAIN, arguments=arguments)
    try:
        for topic, full_name in (
            ("image", "/camera/rgb"),
            ("hand_mesh", "/robot/hand_mesh"),
            ("/tf", "/robot/tf"),
            ("~/debug", "/robot/hand_mesh/debug"),
        ):
            publisher = graph.publisher(topic, STRING, Qos())
            peer.subscribe(full_name, STRING)
            matched(publisher)
    finally:
        graph.shutdown()


def test_two_graphs_of_one_process_hear_each_other(here):
    other = DdsGraph("other", domain_id=DOMAIN)
    arrived = []
    other.subscribe("/inside", STRING, Qos(), arrived.append)
    publisher = here.publisher("/inside", STRING, Qos())
    matched(publisher)

    publisher.publish(string("hello"))

    wait_until(lambda: arrived, "a message")
    assert text_of(arrived[0]) == "hello"
    other.shutdown()
    matched(publisher, 0)


def test_shutdown_may_come_twice_and_later_calls_do_no_harm():
    graph = DdsGraph("brief", domain_id=DOMAIN)
    publisher = graph.publisher("/brief", STRING, Qos())

    graph.shutdown()
    graph.shutdown()

    publisher.publish(string("nobody is there"))
    assert publisher.subscriber_count == 0
    with pytest.raises(RuntimeError, match="brief has left the graph"):
        graph.publisher("/late", STRING, Qos())


SPINNING = """
    import signal, sys, threading, time
    from hand_mesh_ros.ros.dds_graph import DdsGraph
    from hand_mesh_ros.ros.graph import Qos

    def tell_when_signals_are_caught():
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            time.sleep(0.01)
        print("spinning", flush=True)

    graph = DdsGraph("spinner", domain_id=int(sys.argv[1]))
    graph.subscribe("/stop", "std_msgs/msg/String", Qos(), lambda cdr: graph.shutdown())
    threading.Thread(target=tell_when_signals_are_caught).start()
    graph.spin()
    print("done", flush=True)
"""


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, "shutdown in a callback"])
def test_spin_ends_and_so_does_the_program(here, way):
    with Program([sys.executable, "-c", textwrap.dedent(SPINNING), DOMAIN]) as program:
        assert program.line() == "spinning"
        publisher = here.publisher("/stop", STRING, Qos())
        matched(publisher)

        if isinstance(way, signal.Signals):
            program.process.send_signal(way)
        else:
            publisher.publish(string("stop"))

        assert program.line() == "done"
        assert program.finish() == 0
        assert program.log == []
    matched(publisher, 0)


def test_the_log_has_rosds_form_and_level():
    script = """
        import sys
        from hand_mesh_ros.ros.dds_graph import DdsGraph
        graph = DdsGraph("speaker", domain_id=int(sys.argv[1]), arguments=sys.argv[2:])
        graph.log.info("not heard")
        graph.log.warning("heard")
    """
    arguments = ["--ros-args", "-r", "__ns:=/a/b", "--log-level", "warn"]
    command = [sys.executable, "-c", textwrap.dedent(script), DOMAIN, *arguments]

    with Program(command) as program:
        assert program.finish() == 0

    assert len(program.log) == 1
    level, stamp, name, text = program.log[0].split(" ", 3)
    assert (level, name, text) == ("[WARN]", "[a.b.speaker]:", "heard")
    seconds, nanoseconds = stamp.strip("[]").split(".")
    assert len(seconds) == 10
    assert len(nanoseconds) == 9


def test_parameters_come_from_the_arguments():
    arguments = ["--ros-args", "-p", "model:=m3dhmr", "-p", "rate:=1e1", "-p", "on:=true"]
    graph = DdsGraph("hand_mesh", domain_id=DOMAIN, arguments=arguments)
    graph.shutdown()

    assert graph.parameter_overrides() == {"model": "m3dhmr", "rate": 10.0, "on": True}


def has_network_namespaces():
    command = ["unshare", "--user", "--map-root-user", "--net", "true"]
    return shutil.which("ip") and shutil.which("unshare") and not subprocess.call(command)


@pytest.mark.skipif(not has_network_namespaces(), reason="needs unshare --net")
@pytest.mark.parametrize("discovery_range", ["SUBNET", "LOCALHOST"])
def test_loopback_alone_is_enough(discovery_range):
    script = """
        ip link set lo up
        exec "$0" -c "$1" "$2" "$3"
    """
    pair = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from dds_peers import Peer
        with Peer(sys.argv[1]) as a, Peer(sys.argv[1]) as b:
            a.publisher("/x", "sensor_msgs/msg/Image", reliability="best_effort")
            b.subscribe("/x", "sensor_msgs/msg/Image", reliability="best_effort")
            a.wait_for_subscribers("/x", 1)
            a.publish("/x", bytes.fromhex(sys.stdin.read()))
            print(b.next_message()[1].hex())
    """
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script]
    here = os.path.dirname(__file__)
    sent = image(320, 240)
    result = subprocess.run(
        [*command, sys.executable, textwrap.dedent(pair), str(DOMAIN), here],
        input=sent.hex(),
        capture_output=True,
        text=True,
        env={**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": discovery_range},
        timeout=60,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == sent.hex()


def test_the_domain_comes_from_the_environment():
    assert domain_id_of({}) == 0
    assert domain_id_of({"ROS_DOMAIN_ID": " 42 "}) == 42
    assert domain_id_of({"ROS_DOMAIN_ID": "42"}, 7) == 7
    with pytest.raises(ValueError, match="ROS_DOMAIN_ID is 'x7', expected a number from 0 to 232"):
        domain_id_of({"ROS_DOMAIN_ID": "x7"})
    with pytest.raises(ValueError, match="domain_id is '233'"):
        domain_id_of({}, 233)


def test_the_users_own_cyclone_settings_are_left_alone():
    assert cyclone_config({"CYCLONEDDS_URI": "file:///my.xml"}) == "file:///my.xml"


def test_rosds_discovery_variables_are_respected():
    assert "<AllowMulticast>spdp" in cyclone_config({})
    only_here = cyclone_config({"ROS_LOCALHOST_ONLY": "1"})
    assert "<AllowMulticast>false" in only_here
    assert "AddLocalhost='true'" in only_here
    off = cyclone_config({"ROS_AUTOMATIC_DISCOVERY_RANGE": "off", "ROS_STATIC_PEERS": "10.0.0.2"})
    assert "AddLocalhost='false'" in off
    assert "10.0.0.2" not in off
    peers = cyclone_config({"ROS_STATIC_PEERS": "10.0.0.2;arm.local"})
    assert '<Peer Address="10.0.0.2"/><Peer Address="arm.local"/>' in peers


def test_a_kernel_buffer_smaller_than_a_frame_is_reported(tmp_path):
    limit = tmp_path / "rmem_max"
    limit.write_text("212992\n")
    assert "sudo sysctl -w net.core.rmem_max=8388608" in small_buffer_warning(limit)
    limit.write_text("2764800\n")
    assert small_buffer_warning(limit) is None
    assert small_buffer_warning(tmp_path / "absent") is None
