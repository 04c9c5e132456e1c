"""Other processes on the wire: a node that obeys the test line by line, and domains of our own.

Run as a program it is that node: JSON commands on stdin, JSON events on stdout.
"""

import fcntl
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT_S = 20.0
_held = []


def free_domain():
    """A DDS domain that no other test run on this machine uses while this process lives."""
    for domain in range(20, 100):
        lock = open(Path(tempfile.gettempdir()) / f"hand_mesh_ros_domain_{domain}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return domain
    raise RuntimeError("all DDS domains from 20 to 99 are in use by other test runs")


def wait_until(condition, what):
    """Poll until a condition holds; the value is its result."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"waited {TIMEOUT_S:.0f} s for {what}")


def environment(**changes):
    """Environment for a child process that imports this checkout; None removes a variable."""
    merged = {**os.environ, "PYTHONPATH": str(REPOSITORY), **changes}
    return {name: value for name, value in merged.items() if value is not None}


class Program:
    """A child process, its lines of output kept as they come."""

    def __init__(self, command, **env):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**env),
        )
        self._lines = queue.Queue()
        self.log = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._lines.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.log.append)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, keep):
        for line in stream:
            keep(line.rstrip("\n"))

    def line(self):
        """Next line of stdout."""
        try:
            return self._lines.get(timeout=TIMEOUT_S)
        except queue.Empty:
            log = "\n".join(self.log)
            raise AssertionError(f"no line in {TIMEOUT_S:.0f} s; stderr:\n{log}") from None

    def log_line(self, *words):
        """First line of stderr that holds all the words."""

        def found():
            return next((line for line in list(self.log) if all(w in line for w in words)), None)

        return wait_until(found, f"a log line with {words}, seen {self.log}")

    def finish(self):
        """Wait for the end; the value is the exit code."""
        self.process.stdin.close()
        try:
            code = self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
            for reader in self._readers:
                reader.join()
            self.process.stdout.close()
            self.process.stderr.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.finish()


class Peer(Program):
    """A DdsGraph in a process of its own."""

    def __init__(self, domain, *arguments, command=(sys.executable,), distro="jazzy", **env):
        script = Path(__file__).resolve()
        super().__init__([*command, script, domain, distro, *arguments], **env)
        assert json.loads(self.line()) == "ready"
        self.messages = []

    def tell(self, do, **details):
        """Give a command; the value is the answer. Messages that come meanwhile are kept."""
        self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
        self.process.stdin.flush()
        while "answer" not in (event := json.loads(self.line())):
            self._keep(event)
        return event["answer"]

    def publisher(self, topic, type_name, **qos):
        self.tell("publisher", topic=topic, type_name=type_name, qos=qos)

    def publish(self, topic, cdr):
        self.tell("publish", topic=topic, cdr=bytes(cdr).hex())

    def subscribe(self, topic, type_name, **qos):
        self.tell("subscribe", topic=topic, type_name=type_name, qos=qos)

    def subscribers(self, topic):
        return self.tell("count", topic=topic)

    def wait_for_subscribers(self, topic, count):
        wait_until(lambda: self.subscribers(topic) == count, f"{count} subscribers of {topic}")

    def next_message(self):
        """Topic and bytes of the next message."""
        while not self.messages:
            self._keep(json.loads(self.line()))
        return self.messages.pop(0)

    def _keep(self, event):
        self.messages.append((event["topic"], bytes.fromhex(event["cdr"])))


def main(domain, distro, *arguments):
    from hand_mesh_ros.ros.dds_graph import DdsGraph
    from hand_mesh_ros.ros.graph import Qos

    lock = threading.Lock()

    def say(event):
        with lock:
            print(json.dumps(event), flush=True)

    graph = DdsGraph("peer", domain_id=int(domain), distro=distro, arguments=arguments)
    publishers = {}
    paused = threading.Event()
    resumed = threading.Event()

    def on_message(topic, cdr):
        if bytes(cdr[8:13]) == b"fail\0":
            raise RuntimeError("told to fail")
        say({"topic": topic, "cdr": bytes(cdr).hex()})
        if paused.is_set():
            resumed.wait(TIMEOUT_S)

    def obey(do, topic="", type_name="", qos=None, cdr=""):
        if do == "publisher":
            publishers[topic] = graph.publisher(topic, type_name, Qos(**qos))
        elif do == "publish":
            publishers[topic].publish(bytes.fromhex(cdr))
        elif do == "count":
            return publishers[topic].subscriber_count
        elif do == "subscribe":
            graph.subscribe(topic, type_name, Qos(**qos), lambda cdr: on_message(topic, cdr))
        elif do == "pause":
            paused.set()
        elif do == "resume":
            paused.clear()
            resumed.set()
        return None

    say("ready")
    for line in sys.stdin:
        say({"answer": obey(**json.loads(line))})


if __name__ == "__main__":
    main(*sys.argv[1:])
