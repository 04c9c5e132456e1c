"""The doctor: every verdict of every check, with fakes; and once beside a real camera."""

import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from camera_samples import START_NS, STORE, camera_info, image
from dds_peers import Program, free_domain

from hand_mesh_ros.backends.accelerators import Accelerators
from hand_mesh_ros.cli import doctor as command
from hand_mesh_ros.cli.main import main
from hand_mesh_ros.doctor import cameras, computing, examination, files, middleware, software
from hand_mesh_ros.doctor.finding import failure, ok, skipped, warning
from hand_mesh_ros.doctor.listening import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    HeardTopic,
    listen,
)
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks import checkpoint_file
from hand_mesh_ros.ros.dds_config import small_buffer_warning
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.ros.peer_watch import Publication

PARAMETERS = NodeParameters()


def verdict(finding):
    """The verdict; all but ok and skipped say what mends it, in one line."""
    assert "\n" not in finding.text + finding.mend
    if finding.verdict in ("warning", "failure"):
        assert len(finding.mend) > 10, finding
    return finding.verdict


# Software ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "path", "expected"),
    [
        ((3, 11, 7), "", "ok"),
        ((3, 10, 2), "/opt/ros/humble/lib/python3.10/site-packages", "ok"),
        ((3, 11, 7), "/opt/ros/jazzy/lib/python3.12/site-packages", "warning"),
        ((3, 9, 1), "", "failure"),
        ((3, 13, 0), "", "failure"),
    ],
)
def test_python(version, path, expected):
    assert verdict(software.python(version, {"PYTHONPATH": path})) == expected


@pytest.mark.parametrize(
    ("version", "has_cv_bridge", "expected"),
    [("1.26.4", True, "ok"), ("2.1.0", False, "warning"), ("2.1.0", True, "failure")],
)
def test_numpy(version, has_cv_bridge, expected):
    finding = software.numpy(version, has_cv_bridge=has_cv_bridge)
    assert verdict(finding) == expected
    assert expected == "ok" or finding.mend == "pip install 'numpy<2'"


def test_opencv(monkeypatch):
    one, two = {"opencv-contrib-python": "4.11"}, {"opencv-python": "4.9"}
    assert verdict(software.opencv(one)) == "ok"
    both = software.opencv({**one, **two})
    assert verdict(both) == "failure"
    assert "uninstall -y opencv-contrib-python opencv-python" in both.mend
    assert verdict(software.opencv({})) == "ok"  # the distribution's own, as cv2 can be imported
    monkeypatch.setattr(software, "has_module", lambda name: False)
    assert verdict(software.opencv({})) == "failure"


def test_detector_and_dds():
    assert verdict(software.detector({"mediapipe": "0.10.21"})) == "ok"
    assert verdict(software.detector({})) == "failure"
    assert verdict(software.without_ros({"cyclonedds": "11.0.1", "rosbags": "0.11"})) == "ok"
    assert verdict(software.without_ros({})) == "skipped"


# Computing --------------------------------------------------------------------------------------

NOTHING = Accelerators(None, None, None, (), None, (), None)
GPU = replace(NOTHING, driver="NVIDIA", torch="2.6", torch_cuda="12.6", gpus=("H100, sm_90",))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (GPU, "ok"),
        (NOTHING, "skipped"),
        (replace(NOTHING, driver="NVIDIA"), "warning"),
        (replace(NOTHING, driver="NVIDIA", torch="2.6"), "warning"),
        (replace(GPU, gpus=()), "warning"),
    ],
)
def test_gpu(found, expected):
    assert verdict(computing.gpu(found)) == expected


def test_tensorrt_and_onnxruntime():
    assert verdict(computing.tensorrt(NOTHING)) == "skipped"
    assert verdict(computing.tensorrt(GPU)) == "warning"
    assert verdict(computing.tensorrt(replace(GPU, tensorrt="torch-tensorrt 2.6"))) == "ok"
    assert verdict(computing.onnxruntime(NOTHING)) == "skipped"
    cpu = replace(NOTHING, onnxruntime="1.20", providers=("CPUExecutionProvider",))
    assert verdict(computing.onnxruntime(cpu)) == "ok"
    assert verdict(computing.onnxruntime(replace(cpu, gpus=GPU.gpus))) == "warning"


# Middleware -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", "ok"), ("rmw_cyclonedds_cpp", "ok"), ("rmw_zenoh_cpp", "warning")],
)
def test_rmw(name, expected):
    assert verdict(middleware.rmw({"RMW_IMPLEMENTATION": name})) == expected


@pytest.mark.parametrize(
    ("environment", "expected", "word"),
    [
        ({}, "ok", "0, the subnet"),
        ({"ROS_DOMAIN_ID": "7", "ROS_LOCALHOST_ONLY": "1"}, "ok", "7, this machine alone"),
        ({"HAND_MESH_INTERFACES": "lo"}, "ok", "HAND_MESH_INTERFACES is set"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "warning", "no node finds another"),
        ({"ROS_DOMAIN_ID": "seven"}, "failure", "'seven', expected a number from 0 to 232"),
    ],
)
def test_domain(environment, expected, word):
    finding = middleware.domain(environment)
    assert verdict(finding) == expected
    assert word in finding.text


def test_sockets(tmp_path):
    small = tmp_path / "rmem_max"
    small.write_text("212992\n")
    finding = middleware.sockets(small_buffer_warning(small))
    assert verdict(finding) == "warning"
    assert finding.mend.startswith("sudo sysctl -w net.core.rmem_max=")
    assert verdict(middleware.sockets(None)) == "ok"


# Files ------------------------------------------------------------------------------------------


def test_hand_model(tmp_path):
    assert verdict(files.hand_model(PARAMETERS)) == "ok"
    mano = NodeParameters(hand_model="mano", mano_dir=str(tmp_path))
    assert verdict(files.hand_model(mano)) == "failure"


def test_checkpoint(tmp_path, monkeypatch):
    assert verdict(files.checkpoint(PARAMETERS)) == "ok"
    assert verdict(files.checkpoint(NodeParameters(model="landmark_fit"))) == "skipped"
    assert verdict(files.checkpoint(NodeParameters(model="m3d"))) == "failure"
    damaged = tmp_path / "best.safetensors"
    damaged.write_bytes(b"nonsense")
    assert verdict(files.checkpoint(NodeParameters(checkpoint=str(damaged)))) == "failure"
    missing = NodeParameters(checkpoint=str(tmp_path / "absent.safetensors"))
    assert verdict(files.checkpoint(missing)) == "failure"
    monkeypatch.setattr(checkpoint_file, "hand_model_fingerprint", lambda model: "another")
    finding = files.checkpoint(PARAMETERS)
    assert verdict(finding) == "failure"
    assert "was trained for hand model" in finding.text


def test_engine_cache(tmp_path, monkeypatch):
    fine = NodeParameters(engine_cache_dir=str(tmp_path / "not" / "yet"))
    assert verdict(files.engine_cache(fine)) == "ok"
    assert not (tmp_path / "not").exists(), "the doctor leaves nothing behind"
    file = tmp_path / "file"
    file.touch()
    blocked = NodeParameters(engine_cache_dir=str(file / "folder"))
    assert verdict(files.engine_cache(blocked)) == "warning"
    monkeypatch.setattr(files, "LEAST_FREE_BYTES", 1e30)
    assert verdict(files.engine_cache(fine)) == "warning"


def test_hand_calibration(tmp_path):
    assert verdict(files.calibration(PARAMETERS)) == "skipped"
    path = tmp_path / "hands.yaml"
    named = NodeParameters(hand_calibration_file=str(path))
    assert verdict(files.calibration(named)) == "ok"
    path.write_text("hands: []\n")
    assert verdict(files.calibration(named)) == "failure"


# Cameras ----------------------------------------------------------------------------------------


def heard(message, topic="/cam/image_raw", kind=IMAGE, *, rate_hz=30.0, age_s=0.01, **changes):
    """A topic on which that message came for three seconds."""
    publication = Publication(topic, kind, "reliable", "volatile")
    number = round(3.0 * rate_hz)
    arrivals_s = [i / rate_hz for i in range(number)]
    values = {"arrivals_s": arrivals_s, "ages_s": [age_s] * number, "last": message}
    return HeardTopic(publication, listened_s=3.0, **{**values, **changes})


def info(**changes):
    return heard(camera_info(**changes), "/cam/camera_info", CAMERA_INFO)


def test_no_camera():
    (finding,) = cameras.images([])
    assert verdict(finding) == "warning"
    assert "hand-mesh camera" in finding.mend


@pytest.mark.parametrize(
    ("topic", "expected", "word"),
    [
        (heard(image()), "ok", "reliable, 30.0 Hz, 64 x 48 rgb8"),
        (heard(image(), rate_hz=2.0), "warning", "2.0 Hz"),
        (heard(image(), num_publishers=2), "warning", "2 publishers"),
        (heard(None, arrivals_s=[], ages_s=[]), "failure", "nothing came in 3 s"),
        (heard(None, error="no such type"), "failure", "no such type"),
    ],
)
def test_images(topic, expected, word):
    (finding,) = cameras.images([topic])
    assert verdict(finding) == expected
    assert word in finding.text


def test_images_of_an_encoding_that_the_node_refuses():
    message = image()
    message.encoding = "64FC4"
    (finding,) = cameras.images([heard(message)])
    assert verdict(finding) == "failure"
    assert "64FC4" in finding.text


def test_images_that_get_lost_on_the_way():
    infos = info()
    (finding,) = cameras.images([heard(image(), rate_hz=12.0), infos])
    assert verdict(finding) == "warning"
    assert "camera_info comes at 30.0 Hz: images get lost" in finding.text
    assert verdict(cameras.images([heard(image(), rate_hz=29.0), infos])[0]) == "ok"


def test_compressed_images():
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].reshape(-1)
    message = STORE.type("sensor_msgs/msg/CompressedImage")(
        header=image().header, format="jpeg", data=jpeg
    )
    topic = heard(message, "/cam/image_raw/compressed", COMPRESSED_IMAGE)
    (finding,) = cameras.images([topic])
    assert (verdict(finding), finding.text) == ("ok", "reliable, 30.0 Hz, 64 x 48 jpeg")


K = np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1])


def k(**changes):
    values = K.copy()
    for index, value in changes.items():
        values[int(index[1:])] = value
    return values


@pytest.mark.parametrize(
    ("changes", "expected", "word"),
    [
        ({}, "ok", "focal length 50 px, 65 deg wide"),
        ({"k": np.zeros(9)}, "warning", "k is zero"),
        ({"k": k(_0=500.0, _4=500.0)}, "warning", "hardly a camera's"),
        ({"k": k(_4=70.0)}, "warning", "pixels are not square"),
        ({"k": k(_2=5.0)}, "warning", "off centre"),
        ({"d": np.array([-3.0, 0, 0, 0, 0])}, "warning", "folds the image's corners"),
        ({"width": 640, "height": 480}, "failure", "camera_info is for 640 x 480"),
        ({"k": k(_0=-50.0)}, "failure", "must be positive"),
        ({"distortion_model": "mystery"}, "failure", "mystery"),
        ({"d": np.zeros(3)}, "failure", "coefficients"),
    ],
)
def test_calibrations(changes, expected, word):
    (finding,) = cameras.calibrations([heard(image()), info(**changes)])
    assert verdict(finding) == expected
    assert word in finding.text


def test_a_camera_without_calibration_and_one_that_is_silent():
    (finding,) = cameras.calibrations([heard(image())])
    assert (verdict(finding), finding.check) == ("warning", "calibration /cam")
    silent = heard(None, "/cam/camera_info", CAMERA_INFO, arrivals_s=[], ages_s=[])
    assert verdict(cameras.calibrations([silent])[0]) == "warning"


@pytest.mark.parametrize(
    ("age_s", "expected", "word"),
    [
        (0.03, "ok", "30 ms after their stamps"),
        (-0.1, "warning", "100 ms ahead"),
        (2.0, "warning", "2.00 s late"),
        (1e6, "warning", "a recording, or another clock"),
        (-3600.0, "failure", "the node refuses such images"),
    ],
)
def test_clocks(age_s, expected, word):
    (finding,) = cameras.clocks([heard(image(), age_s=age_s)], max_future_s=0.5)
    assert verdict(finding) == expected
    assert word in finding.text


# Listening --------------------------------------------------------------------------------------


class FakeNetwork:
    """Publishers that send what they have as soon as somebody listens."""

    def __init__(self, sent):
        self.sent, self.wanted, self.closed = sent, {}, []

    def publications(self):
        return sorted(self.sent)

    def now_ns(self):
        return START_NS + 20_000_000

    def subscribe(self, topic, type_name, qos, callback):
        self.wanted[topic] = qos.reliability
        for publication, messages in self.sent.items():
            if publication.topic == topic:
                for message in messages:
                    callback(memoryview(message))
        network = self

        class Subscription:
            def close(self):
                network.closed.append(topic)

        return Subscription()


def test_listening():
    def on(topic, kind, reliability="reliable"):
        return Publication(topic, kind, reliability, "volatile")

    network = FakeNetwork(
        {
            on("/cam/image_raw", IMAGE): [STORE.encode(image())] * 3,
            on("/cam/camera_info", CAMERA_INFO, "best_effort"): [STORE.encode(camera_info())],
            on("/bad/image", IMAGE): [b"\0\1\0\0nonsense"],
            on("/hand_overlay", IMAGE): [STORE.encode(image())],
            on("/robot/image_preview/compressed", COMPRESSED_IMAGE): [],
            on("/chatter", "std_msgs/msg/Header"): [],
        }
    )
    waited = []
    found = listen(network, seconds=3.0, reliability="reliable", store=STORE, sleep=waited.append)
    assert [topic.publication.topic for topic in found] == [
        *("/bad/image", "/cam/camera_info", "/cam/image_raw"),
    ]
    assert waited[1] == 3.0
    assert network.wanted == {
        **{"/bad/image": "reliable", "/cam/image_raw": "reliable"},
        "/cam/camera_info": "best_effort",
    }
    assert sorted(network.closed) == sorted(network.wanted)
    bad, infos, images = found
    assert bad.error
    assert infos.last.k[0] == 50.0
    assert (len(images.arrivals_s), images.age_s) == (3, pytest.approx(0.02))


def test_two_publishers_of_one_topic_are_one_line():
    kinds = [Publication("/x", IMAGE, r, "volatile") for r in ("reliable", "best_effort")]
    network = FakeNetwork({kind: [] for kind in kinds})
    (topic,) = listen(network, seconds=0.1, reliability="reliable", store=STORE, sleep=lambda s: 0)
    assert (topic.num_publishers, network.wanted) == (2, {"/x": "best_effort"})


# The whole --------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_finding_and_stops_no_other(monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("the disk\nis gone")

    monkeypatch.setattr(software, "opencv", broken)
    monkeypatch.setattr(examination, "find_accelerators", lambda: NOTHING)
    found = {f.check: f for f in examination.examine(PARAMETERS, {}, None)}
    assert verdict(found["opencv"]) == "failure"
    assert "OSError: the disk is gone" in found["opencv"].text
    assert verdict(found["hand model"]) == "ok"
    assert verdict(found["cameras"]) == "skipped"
    assert {"python", "numpy", "detector", "gpu", "tensorrt", "rmw", "domain"} < set(found)


def test_without_dds_cameras_are_skipped(monkeypatch):
    monkeypatch.setattr(software, "installed", lambda names: {})
    monkeypatch.setattr(examination, "find_accelerators", lambda: NOTHING)
    found = {f.check: f for f in examination.examine(PARAMETERS, {}, lambda: 1 / 0)}
    assert (verdict(found["dds"]), verdict(found["cameras"])) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([ok("a", "fine"), skipped("b", "absent")], 0),
        ([ok("a", "fine"), warning("c", "slow", "be quicker, please")], 0),
        ([warning("c", "slow", "be quicker, please"), failure("d", "gone", "bring it back")], 1),
    ],
)
def test_exit_code_lines_and_report(findings, code, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "examine", lambda *args: iter(findings))
    report = tmp_path / "r.json"
    assert main(["doctor", "--listen", "0", "--report", str(report)]) == code
    said = capsys.readouterr().out
    for finding in findings:
        assert f"{finding.verdict:8} {finding.check}: {finding.text}" in said
        assert not finding.mend or f"mend: {finding.mend}" in said
    content = json.loads(report.read_text())
    assert [f["check"] for f in content["findings"]] == [f.check for f in findings]
    assert content["findings"][-1] == {
        **{"check": findings[-1].check, "verdict": findings[-1].verdict},
        **{"text": findings[-1].text, "mend": findings[-1].mend},
    }
    assert content["counts"]["failure"] == sum(f.verdict == "failure" for f in findings)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--listen", "-1"], "--listen is -1, expected 0 to 600 seconds"),
        (["--report", "/no/such/folder/r.json"], "--report /no/such/folder/r.json"),
        (["--ros-args", "-p", "max_hnds:=1"], 'did you mean "max_hands"?'),
    ],
)
def test_wrong_calls(options, word, capsys):
    assert main(["doctor", *options]) == 2
    assert word in capsys.readouterr().err


def test_beside_a_real_camera(tmp_path):
    domain, report = str(free_domain()), tmp_path / "r.json"
    hand_mesh = [sys.executable, "-m", "hand_mesh_ros.cli"]
    size = ["--width", "160", "--height", "120", "--rate", "20"]
    with Program([*hand_mesh, "camera", *size], ROS_DOMAIN_ID=domain) as camera:
        time.sleep(1.0)
        options = ["--listen", "2", "--report", report]
        with Program([*hand_mesh, "doctor", *options], ROS_DOMAIN_ID=domain) as doctor:
            assert doctor.process.wait(120) == 0
        camera.process.terminate()
    found = {f["check"]: f for f in json.loads(report.read_text())["findings"]}
    seen = found["images /camera/image_raw"]
    quality, rate, shown = seen["text"].split(", ")[:3]
    assert quality == "reliable"
    assert 2.0 < float(rate.removesuffix(" Hz")) < 30.0
    assert shown.startswith("160 x 120 rgb8")
    assert "focal length 139 px, 60 deg wide" in found["calibration /camera/camera_info"]["text"]
    assert found["clock /camera/image_raw"]["verdict"] != "failure"
    assert load_open_hand().name in found["hand model"]["text"]
