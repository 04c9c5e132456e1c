"""Pages of other origins can neither see the viewer's data nor use its controls."""

import contextlib
import socket

import pytest
from camera_samples import STORE
from fake_graph import FakeGraph

from hand_mesh_ros.viewer.live_feed import LiveFeed
from hand_mesh_ros.viewer.same_origin import FRAME_POLICY, own_pages_only, refusal

HERE = {"Host": "127.0.0.1:8080"}


@pytest.mark.parametrize(
    "headers",
    [
        {**HERE, "Origin": "http://127.0.0.1:8080"},
        {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
        {"Host": "[::1]:8080", "Origin": "http://[::1]:8080"},
        {"Host": "192.168.1.5:8080", "Origin": "http://192.168.1.5:8080"},
        {"Host": f"{socket.gethostname()}:8080", "Origin": f"http://{socket.gethostname()}:8080"},
        HERE,
    ],
)
def test_the_viewers_own_page_is_answered(headers):
    assert refusal(headers, "127.0.0.1") is None


@pytest.mark.parametrize(
    "headers",
    [
        {**HERE, "Origin": "https://evil.example"},
        {**HERE, "Origin": "http://127.0.0.1:9090"},  # another program's page
        {**HERE, "Origin": "null"},  # a file, or a page in a sandbox
        {**HERE, "Origin": ""},
        {**HERE, "Origin": "http://127.0.0.1:8080.evil.example"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},  # DNS rebinding
        {"Host": "evil.example:8080"},
        {"Origin": "http://127.0.0.1:8080"},
        {},
    ],
)
def test_others_are_not(headers):
    assert refusal(headers, "127.0.0.1") is not None


def test_a_viser_that_cannot_be_guarded_is_not_used():
    with pytest.raises(RuntimeError, match="cannot be kept from"), own_pages_only("127.0.0.1"):
        pass


@pytest.fixture(scope="module")
def port():
    pytest.importorskip("viser", reason="the view needs viser: pip install .[viewer]")
    from hand_mesh_ros.viewer.page import Page

    with contextlib.closing(LiveFeed(FakeGraph(STORE), store=STORE)) as feed:
        page = Page(feed, host="127.0.0.1", port=0)
        yield page._server.get_port()
        page.close()


@contextlib.contextmanager
def web_socket(port, **options):
    import viser
    from websockets.sync.client import connect

    protocols = [f"viser-v{viser.__version__}"]
    with connect(f"ws://127.0.0.1:{port}", subprotocols=protocols, **options) as opened:
        yield opened


def test_a_real_server_answers_its_own_page_alone(port):
    from websockets.exceptions import InvalidStatus

    with web_socket(port, origin=f"http://127.0.0.1:{port}") as opened:
        assert opened.recv(timeout=10.0)
    with pytest.raises(InvalidStatus) as caught, web_socket(port, origin="https://evil.example"):
        pass
    assert caught.value.response.status_code == 403
    assert b"https://evil.example have no access" in caught.value.response.body


def test_the_page_itself_is_for_no_frame_of_others(port):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Security-Policy")) == (200, FRAME_POLICY)
    connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    connection.request("GET", "/", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 403
    connection.close()


def test_the_page_is_for_this_machine_unless_asked_otherwise():
    import argparse

    from hand_mesh_ros.cli import view

    parser = argparse.ArgumentParser()
    view.add_arguments(parser)
    assert parser.parse_args([]).host == "127.0.0.1"
