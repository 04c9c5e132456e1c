"""The page in real browsers: it loads, the hand moves, nothing is wrong on the console."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import headless_chromium
import headless_firefox
import numpy as np
import pytest
from camera_samples import STORE
from fake_graph import FakeGraph
from process_samples import OPEN_HAND, info_of, posed_hand, synthetic_frames
from test_viewer_feeds import array_of, preview_of

from hand_mesh_ros.ros import messages
from hand_mesh_ros.ros.image_preview import IMAGE_PREVIEW
from hand_mesh_ros.viewer.live_feed import LiveFeed
from hand_mesh_ros.viewer.page import Page

pytest.importorskip("viser", reason="the viewer needs viser: pip install viser")

RENDERED_S = 60.0  # a software renderer on a busy machine takes its time
_HAND_PX = 300
PICTURES = os.environ.get("HAND_MESH_TEST_PICTURES", "")
"""Folder to keep what the browser showed, for people to look at."""


class MovingHand:
    """A node that publishes one hand again and again, wherever `x_m` says."""

    def __init__(self, graph):
        self.x_m = -0.06
        self.is_image_seen = False
        self._graph, self._stop = graph, threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _publish(self):
        (frame,) = synthetic_frames(1)
        hand = posed_hand(frame, root_covariance=np.diag([1e-4] * 6))
        graph = self._graph
        graph.send("camera_info", info_of(frame))
        graph.send("hand_topology", messages.hand_topology(STORE, OPEN_HAND))
        stamp_ns = 4_900_000_000  # shortly before the graph's now
        while not self._stop.wait(0.2):
            stamp_ns += 1_000_000
            shift_m = np.array([self.x_m, 0.0, 0.0])
            moved = hand.T_camera_wrist.copy()
            moved[:3, 3] += shift_m
            changed = replace(
                hand,
                T_camera_wrist=moved,
                keypoints_m=hand.keypoints_m + shift_m,
                vertices_m=hand.vertices_m + shift_m,
            )
            graph.send("hand_meshes", array_of([changed], stamp_ns))
            if not self.is_image_seen and IMAGE_PREVIEW in graph.subscriptions:
                self.is_image_seen = True
                graph.send(IMAGE_PREVIEW, preview_of(frame))


@pytest.fixture(params=["chromium", "firefox"])
def browser(request):
    is_firefox = request.param == "firefox"
    if not (headless_firefox if is_firefox else headless_chromium).PATH:
        pytest.skip(f"no {request.param} on this machine")
    kind = headless_firefox.Firefox if is_firefox else headless_chromium.Chromium
    browser = kind(800, 600)
    yield browser
    browser.close()


@pytest.fixture
def hand_and_page():
    graph = FakeGraph(STORE)
    feed = LiveFeed(graph, store=STORE)
    page = Page(feed, host="127.0.0.1", port=0)
    stop = threading.Event()
    worker = threading.Thread(target=page.serve, args=(stop,))
    worker.start()
    hand = MovingHand(graph)
    yield hand, page
    hand.stop()
    stop.set()
    worker.join()
    page.close()


def orange_px(picture):
    """(N, 2) x y of the pixels in the colour of right hands."""
    hue, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV))
    found = (hue > 12) & (hue < 30) & (saturation > 90) & (value > 90)
    found[:200, :40] = False  # a notice about software rendering has that colour too
    return np.argwhere(found)[:, ::-1]


def wait_for(browser, condition, what):
    """The first picture for which the condition holds."""
    end = time.monotonic() + RENDERED_S
    while True:
        picture = browser.picture()
        if condition(picture):
            return picture
        keep("view_waiting", picture)
        assert time.monotonic() < end, f"waited {RENDERED_S:.0f} s for {what}; {browser.errors}"
        time.sleep(0.3)


def keep(name, picture):
    if PICTURES:
        cv2.imwrite(str(Path(PICTURES) / f"{name}.png"), picture)


def test_a_hand_is_shown_and_moves_and_goes_with_its_node(browser, hand_and_page):
    hand, page = hand_and_page
    browser.open(page.url)
    before = wait_for(browser, lambda p: len(orange_px(p)) > _HAND_PX, "a hand")
    x_before = orange_px(before)[:, 0].mean()
    keep("view_before", before)
    hand.x_m = 0.04
    after = wait_for(
        browser,
        lambda p: len(orange_px(p)) > _HAND_PX and orange_px(p)[:, 0].mean() > x_before + 40,
        "the hand to move to the right",
    )
    keep("view_after", after)
    text = browser.value("document.body.innerText")
    for words in ("right 1", "rate", "latency", "opacity", "follow", "pause"):
        assert words in text, text
    hand.stop()
    wait_for(browser, lambda p: len(orange_px(p)) < 50, "the hand to vanish")
    assert "is the node running" in browser.value("document.body.innerText")
    assert browser.errors == []
