"""A Firefox on a screen that nobody sees, driven over WebDriver BiDi; as `headless_chromium.py`.

Firefox's own headless mode has no WebGL without a GPU; under Xvfb it computes it in software.
"""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np

_XVFB = shutil.which("Xvfb")
PATH = _XVFB and next(filter(None, map(shutil.which, ("firefox", "firefox-esr"))), "")
"""Empty where Firefox or Xvfb is missing."""
_START_S = 60.0
_ANSWER_S = 60.0
_PREFERENCES = {
    # The page needs WebGL, which a machine without a GPU does in software.
    "webgl.force-enabled": True,
    "webgl.disabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
}


class Firefox:
    """One page; what it says on its console is kept in `errors`."""

    def __init__(self, width=1000, height=700):
        from websockets.sync.client import connect

        self._screen = subprocess.Popen(
            [_XVFB, "-displayfd", "1", "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        display = self._screen.stdout.readline().strip()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
        Path(self._profile.name, "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [
                *(PATH, "--no-remote", "--profile", self._profile.name),
                *("--remote-debugging-port=0", f"--width={width}", f"--height={height}"),
                "about:blank",
            ],
            env={**os.environ, "DISPLAY": f":{display}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ids = itertools.count(1)
        self.errors = []
        """Errors and uncaught exceptions of the page, in words."""
        try:
            self._socket = connect(f"{self._address()}/session", max_size=None)
            self.call("session.new", capabilities={})
            self.call("session.subscribe", events=["log.entryAdded"])
            tree = self.call("browsingContext.getTree")
            self._context = tree["contexts"][0]["context"]
            self.call(
                "browsingContext.setViewport",
                context=self._context,
                viewport={"width": width, "height": height},
            )
        except BaseException:
            self.close()
            raise

    def open(self, url):
        """Go to a page, and wait until it has loaded."""
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def call(self, method, **params):
        """Result of a BiDi command."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(self._socket.recv(timeout=_ANSWER_S))).get("id") != number:
            self._note(message)
        if message["type"] == "error":
            raise RuntimeError(f"{method}: {message['error']}: {message['message']}")
        return message["result"]

    def value(self, expression):
        """Value of a JavaScript expression."""
        target = {"context": self._context}
        answer = self.call(
            "script.evaluate", expression=expression, target=target, awaitPromise=False
        )
        return answer["result"].get("value")

    def picture(self):
        """(H, W, 3) uint8 BGR of the page as it is now."""
        answer = self.call("browsingContext.captureScreenshot", context=self._context)
        data = np.frombuffer(base64.b64decode(answer["data"]), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    def close(self):
        for process in (self._process, self._screen):
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._profile.cleanup()

    def _address(self):
        """Of the remote end, which it names when it listens."""
        timer = threading.Timer(_START_S, self._process.kill)
        timer.start()
        try:
            for line in self._process.stderr:
                if found := re.search(r"BiDi listening on (ws://\S+)", line):
                    # Whatever it says later is read, so that it never waits for a reader.
                    threading.Thread(target=self._process.stderr.read, daemon=True).start()
                    return found[1]
        finally:
            timer.cancel()
        raise RuntimeError(f"Firefox did not start in {_START_S:.0f} s")

    def _note(self, message):
        entry = message.get("params", {})
        if message.get("method") == "log.entryAdded" and entry["level"] == "error":
            self.errors.append(json.dumps(entry.get("text")))
