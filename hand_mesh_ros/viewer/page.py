"""The page of `hand-mesh view`: a local web server, and the loop that feeds it."""

from __future__ import annotations

import contextlib
import errno
import io
import socket
import threading
import time
from typing import Any

from hand_mesh_ros.viewer.feed import Feed
from hand_mesh_ros.viewer.hand_scene import HandScene
from hand_mesh_ros.viewer.panel import Choices, Panel
from hand_mesh_ros.viewer.same_origin import own_pages_only
from hand_mesh_ros.viewer.snapshot import Snapshot

_POLL_S = 0.1
_TELL_PERIOD_S = 0.2


class Page:
    """Shows a feed to every browser that comes; works only while one is there."""

    def __init__(self, feed: Feed, *, host: str, port: int, title: str = "hand-mesh") -> None:
        """Open the page.

        Args:
            feed: what to show; the page does not close it.
            host: address to listen on, "127.0.0.1": this machine alone.
            port: first one to try; the next free one is taken.
            title: above the side panel.

        Raises:
            ImportError: viser is missing.
            OSError: the address is not one of this machine.
            RuntimeError: pages of other origins could not be refused.
        """
        viser = _import_viser()
        _check_address(host, port)
        # It prints a box of its own.
        with contextlib.redirect_stdout(io.StringIO()), own_pages_only(host):
            self._server = viser.ViserServer(host, port, verbose=False)
        # A page can ask viser to publish it through a server on the internet; not this one.
        self._server.request_share_url = _no_share_url
        self._feed = feed
        self._panel = Panel(self._server.gui, title=title, timeline_s=feed.duration_s)
        self._scene = HandScene(self._server)
        self._shown: Snapshot | None = None
        self._chosen: Choices | None = None
        self._told_s = 0.0

    @property
    def url(self) -> str:
        """Where the page is."""
        host = self._server.get_host()
        return f"http://{'localhost' if host == '0.0.0.0' else host}:{self._server.get_port()}"

    def serve(self, stop: threading.Event) -> None:
        """Show what comes until told to stop."""
        while not stop.is_set():
            if self._server.get_clients():
                self._step()
            else:
                self._feed.picture(wanted=False)
                stop.wait(_POLL_S)

    def close(self) -> None:
        """Close the page."""
        self._server.stop()

    def _step(self) -> None:
        """Show the next thing that there is to show."""
        choices = self._panel.choices()
        snapshot = self._next(choices)
        picture = self._feed.picture(wanted=choices.camera and not choices.paused)
        with self._server.atomic():
            if self._feed.is_stale() and not choices.paused:
                self._scene.hide_hands()
                self._shown = None
            elif snapshot is not None or choices != self._chosen:
                self._draw(snapshot or self._shown, choices)
            self._scene.show_camera(picture.camera, picture.image, choices.camera)
            now_s = time.monotonic()
            if now_s >= self._told_s + _TELL_PERIOD_S:
                self._told_s = now_s
                self._panel.tell(self._feed.status(), self._shown)
        self._chosen = choices

    def _next(self, choices: Choices) -> Snapshot | None:
        """What to show now; None: nothing new."""
        sought_s = self._panel.sought_s()
        if sought_s is not None:
            self._panel.show_time(sought_s)
            return self._feed.seek(sought_s)
        if choices.paused:
            time.sleep(_POLL_S)
            return None
        else:
            snapshot = self._feed.next(_POLL_S)
        if snapshot is not None and self._feed.duration_s is not None:
            self._panel.show_time(self._feed.time_s(snapshot))
        return snapshot

    def _draw(self, snapshot: Snapshot | None, choices: Choices) -> None:
        self._shown = snapshot
        if snapshot is None:
            return
        topology = self._feed.topology
        sides, named = choices.sides, choices.labels
        self._scene.show_hands(snapshot, topology, choices.look, sides=sides, named=named)
        seen = [hand for hand in snapshot.hands if hand.side in sides]
        if not choices.follow:
            self._scene.follow(None)
        elif seen:
            first = min(seen, key=lambda hand: hand.track_id)
            self._scene.follow(first.keypoints_m.mean(axis=0))


def _import_viser() -> Any:
    try:
        import viser
    except ImportError as error:
        raise ImportError(
            f"the view needs viser ({error}): pip install 'hand_mesh_ros[viewer]'"
        ) from error
    return viser


def _check_address(host: str, port: int) -> None:
    """Raise OSError where a page cannot be opened there; viser would wait for ever."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # else the next free port will do
            raise


def _no_share_url(verbose: bool = True) -> None:
    """Do nothing."""
