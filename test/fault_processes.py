"""What goes wrong with programs, disks, networks and GPUs; as in `fault_scenarios`."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from camera_samples import STORE
from dds_peers import Peer, Program, free_domain, wait_until
from fault_bench import CLI, Node, Scene, stamp_of
from fault_hosts import small_disk, two_hosts
from fault_scenarios import Shown

from hand_mesh_ros.backends.engine_cache import EngineCache, EngineCodec, EngineKey
from hand_mesh_ros.sources.base import NS_PER_S


def node_killed() -> Shown:
    """The node dies without a word, and is started again."""
    with Scene() as scene:
        topologies = scene.listener.topologies
        scene.node.kill()
        assert scene.node.finish() == -signal.SIGKILL
        scene.listener.forget()
        start_s = time.monotonic()
        scene.node = Node(scene.domain, *scene.arguments)
        scene.settle()
        took_s = time.monotonic() - start_s
        scene.check_sound()
        assert scene.listener.topologies == topologies + 1, "the topology did not come again"
    return Shown(
        "Node killed (-9) and started again",
        "SIGKILL while it publishes",
        "subscribers that stayed get the new one's hands and its topology, without doing anything",
        f"hands again {took_s:.1f} s after the start",
    )


def camera_killed() -> Shown:
    """The camera's process dies, and comes back."""
    with Scene("-p", "stale_timeout_s:=0.5") as scene:
        env = {"ROS_DOMAIN_ID": str(scene.domain)}
        command = (*CLI, "camera", "--width", "320", "--height", "240")
        scene.listener.forget()
        with Program(command, **env) as camera:
            _wait_for_hands(scene)
            camera.process.kill()
            assert camera.finish() == -signal.SIGKILL
        said = scene.node.log_line("no image for", "hands vanish")
        last_ns = scene.listener.stamps_ns[-1]
        start_s = time.monotonic()
        with Program(command, **env) as camera:
            wait_until(lambda: scene.listener.stamps_ns[-1] > last_ns, "an array after the pause")
            took_s = time.monotonic() - start_s
            scene.node.log_line("images again, after")
            camera.process.terminate()
            camera.finish()
        assert not scene.node.errors, scene.node.errors[0]
        assert scene.listener.stamps_ns == sorted(scene.listener.stamps_ns)
    return Shown(
        "Camera killed (-9) and started again",
        "SIGKILL of `hand-mesh camera` while hands are tracked",
        f'hands vanish ("{said.split("]: ")[-1]}"), and come again with the camera',
        f"arrays again {took_s:.1f} s after the camera's start",
    )


def large_images(count: int = 5) -> Shown:
    """Images of 25 MB."""
    with Scene("-p", "image_reliability:=reliable", width=3840, height=2160) as scene:
        scene.listener.forget()
        for _ in range(count):
            stamp_ns = scene.next_ns()
            scene.feed.send(stamp_ns)
            scene.wait_for(stamp_ns)
        scene.check_sound()
        assert all(m.hands for m in scene.listener.meshes)
        latency_s = [m.latency.sec + 1e-9 * m.latency.nanosec for m in scene.listener.meshes]
    return Shown(
        "4K input",
        f"{count} images of 3840 x 2160 (25 MB each), reliable",
        "each is published, with its hand",
        f"latency {1e3 * np.median(latency_s):.0f} ms (median)",
    )


def full_disk(folder: Path) -> Shown:
    """An engine cache whose disk is full."""
    said: list[str] = []
    codec = EngineCodec(
        build=lambda: bytes(1 << 20),
        save=lambda engine, path: path.write_bytes(engine) and None,
        load=Path.read_bytes,
    )
    key = EngineKey("onnx", "small", "w0", "{}", "c0", "s0")
    with small_disk(folder, kib=64):
        for _ in range(2):  # as nothing was kept, the second one builds as well
            assert EngineCache(folder, log=said.append).get(key, codec) == bytes(1 << 20)
        left = [path.name for path in folder.iterdir() if not path.name.endswith(".lock")]
    assert left == [], f"parts of an engine were left: {left}"
    refusals = [line for line in said if "No space left on device" in line]
    assert len(refusals) == 2
    return Shown(
        "Disk full in the engine cache",
        "an engine of 1 MB into a file system of 64 KiB, twice",
        "the engine is used and not kept, no part of it stays, one line says why: "
        f'"{refusals[0].split(": ", 1)[1]}"',
        "",
    )


def lost_back_end() -> Shown:
    """A GPU that runs out of memory while it runs, and comes back; simulated."""
    from hand_mesh_ros.backends.base import EngineSpec, TensorSpec
    from hand_mesh_ros.backends.choose import ChosenBackEnd
    from hand_mesh_ros.backends.parity import Parity
    from hand_mesh_ros.backends.steady_backend import RETRY_S, SteadyBackEnd

    class Simulated:
        spec = EngineSpec((TensorSpec("image", (1,)),), (TensorSpec("by", ()),))

        def __init__(self, name: str) -> None:
            self.name, self.is_lost = name, False

        def run(self, inputs: dict) -> dict:
            if self.is_lost:
                raise RuntimeError("CUDA error: out of memory")
            return {"by": self.name}

    def chosen(backend: Any) -> ChosenBackEnd:
        return ChosenBackEnd(backend, Parity(()), ())

    now_s, said = [0.0], []
    gpu, cpu = Simulated("gpu"), Simulated("cpu")
    steady = SteadyBackEnd(
        chosen(gpu), lambda: chosen(cpu), log=said.append, clock=lambda: now_s[0]
    )
    by: list[Any] = []
    for frame in range(3600):
        now_s[0] = frame / 30.0
        gpu.is_lost = 5.0 <= now_s[0] < 12.0
        by.append(steady.run({"image": np.zeros((1, 1), np.float32)})["by"])
    assert len(by) == 3600, "a frame was lost"
    assert by[0] == by[-1] == "gpu"
    on_cpu_s = by.count("cpu") / 30.0
    assert 7.0 <= on_cpu_s <= 7.0 + RETRY_S
    assert "cpu takes over" in said[0]
    assert said[-1] == "back-end gpu works again"
    return Shown(
        "GPU out of memory or lost",
        "7 s of 120 s, simulated at the back-end's border",
        "no frame is lost, the log says so, the GPU is tried again and taken back",
        f"{on_cpu_s:.0f} s on the other back-end, {len(said)} lines in the log",
    )


def network_down() -> Shown:
    """The cable between camera and node is pulled out and put back."""
    with two_hosts() as (here, there, cable):
        domain = free_domain()
        env = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
        camera_line = (*there, *CLI, "camera", "--width", "320", "--height", "240", "--rate", "15")
        with (
            Node(domain, command=here, **env) as node,
            Program(camera_line, ROS_DOMAIN_ID=str(domain), **env) as camera,
        ):
            peer = Peer(domain, command=(*here, sys.executable), **env)
            with peer:
                peer.subscribe("hand_meshes", "hand_mesh_ros/msg/HandMeshArray")
                before_ns = _stamp_of_next(peer)
                cable("down")
                said = node.log_line("no image for", "hands vanish")
                down_s = time.monotonic()
                time.sleep(3.0)
                cable("up")
                up_s = time.monotonic()
                node.log_line("images again, after")
                back_s = time.monotonic() - up_s
                while (after_ns := _stamp_of_next(peer)) < before_ns + 2 * NS_PER_S:
                    pass
                peer.process.stdin.close()
            assert not node.errors, node.errors[0]
            for program in (camera, node):
                program.process.terminate()
    assert after_ns > before_ns
    return Shown(
        "Network down and up",
        f"the link between two network namespaces, {up_s - down_s:.0f} s",
        f'hands vanish ("{said.split("]: ")[-1]}"), and come again without a restart',
        f"images again {back_s:.1f} s after the link",
    )


def _stamp_of_next(peer: Peer) -> int:
    _, cdr = peer.next_message()
    return stamp_of(STORE.decode(cdr, "hand_mesh_ros/msg/HandMeshArray"))


def _wait_for_hands(scene: Scene) -> None:
    wait_until(lambda: any(m.hands for m in scene.listener.meshes), "hands of the camera")
