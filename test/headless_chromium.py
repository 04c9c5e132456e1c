"""A Chromium without a screen, driven over the DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
_START_S = 60.0
_ANSWER_S = 60.0


class Chromium:
    """One page; what it says on its console is kept in `errors`."""

    def __init__(self, width=1000, height=700):
        from websockets.sync.client import connect

        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                PATH,
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._profile.name}",
                f"--window-size={width},{height}",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        self.errors = []
        """Errors and uncaught exceptions of the page, in words."""
        try:
            self._socket = connect(self._page_socket(), max_size=None)
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def open(self, url):
        """Go to a page, and wait until it has loaded."""
        self.call("Page.navigate", url=url)
        end = time.monotonic() + _START_S
        while (
            self.value("document.readyState + location.host") != f"complete{urlsplit(url).netloc}"
        ):
            assert time.monotonic() < end, f"{url} did not load in {_START_S:.0f} s"
            time.sleep(0.1)

    def call(self, method, **params):
        """Result of a DevTools command."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(self._socket.recv(timeout=_ANSWER_S))).get("id") != number:
            self._note(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def value(self, expression):
        """Value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=expression)["result"].get("value")

    def picture(self):
        """(H, W, 3) uint8 BGR of the page as it is now."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def _page_socket(self):
        """Address of the page's DevTools."""
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._process.poll() is None:
            if port_file.exists() and (lines := port_file.read_text().splitlines()):
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as answer:
                    pages = [p for p in json.load(answer) if p["type"] == "page"]
                if pages:
                    return pages[0]["webSocketDebuggerUrl"]
            time.sleep(0.05)
        raise RuntimeError(f"Chromium did not start in {_START_S:.0f} s")

    def _note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(json.dumps(params["entry"]))
