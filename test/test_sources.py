import logging

import cv2
import numpy as np
import pytest

from hand_mesh_ros.camera import Camera
from hand_mesh_ros.sources import video, webcam
from hand_mesh_ros.sources.base import SourceError, nominal_stamp_ns
from hand_mesh_ros.sources.calibration import camera_from_yaml, fitted
from hand_mesh_ros.sources.files import list_images, open_source
from hand_mesh_ros.sources.webcam import WebcamSource

CAMERA_INFO = """
image_width: 640
image_height: 480
camera_name: test
camera_matrix:
  rows: 3
  cols: 3
  data: [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.1, 0.001, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]}
"""
K = np.array([[300.0, 0, 20], [0, 310, 15], [0, 0, 1]])


def write_image(path, color, size=(40, 30)):
    image = np.full((size[1], size[0], 3), color, np.uint8)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def write_video(path, levels, rate_hz=12.5, size=(64, 48)):
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, size)
    if not out.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for level in levels:
        out.write(np.full((size[1], size[0], 3), (level, 0, 0), np.uint8))
    out.release()
    return path


def only_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# Stills


def test_image_is_rgb_with_assumed_camera(tmp_path):
    (frame,) = open_source(str(write_image(tmp_path / "a.png", (200, 100, 50))), fov_deg=90)
    assert frame.image.shape == (30, 40, 3)
    assert frame.image.dtype == np.uint8
    assert frame.image[0, 0].tolist() == [200, 100, 50]
    assert frame.camera.assumed
    assert frame.camera.K[0, 0] == pytest.approx(20.0)
    assert (frame.camera.width, frame.camera.height) == (40, 30)
    assert frame.frame_id == "camera_optical_frame"


def test_folder_is_in_natural_order_and_sizes_may_differ(tmp_path):
    for number in (10, 9, 1, 100):
        write_image(tmp_path / f"f{number}.png", (number, 0, 0), size=(20 + number, 30))
    (tmp_path / "notes.txt").write_text("no image")
    write_image(tmp_path / ".hidden.png", (0, 0, 0))
    source = open_source(str(tmp_path), rate_hz=4, start_ns=1000)
    assert source.num_frames == 4
    frames = list(source)
    assert [f.image[0, 0, 0] for f in frames] == [1, 9, 10, 100]
    assert [f.image.shape[1] for f in frames] == [21, 29, 30, 120]
    assert [f.camera.width for f in frames] == [21, 29, 30, 120]
    assert [f.stamp_ns for f in frames] == [1000, 250_001_000, 500_001_000, 750_001_000]


def test_natural_order_tells_equal_numbers_apart(tmp_path):
    for name in ("b.png", "a01.png", "a1.png", "3.png", "A2.PNG"):
        write_image(tmp_path / name, (0, 0, 0))
    names = [p.name for p in list_images(tmp_path)]
    assert names == ["3.png", "a01.png", "a1.png", "A2.PNG", "b.png"]


def test_stills_repeat(tmp_path):
    path = write_image(tmp_path / "a.jpg", (9, 9, 9))
    assert [f.stamp_ns for f in open_source(str(path), repeat=3, rate_hz=2)] == [
        0,
        5 * 10**8,
        10**9,
    ]
    endless = open_source(str(path), repeat=0)
    assert endless.num_frames is None
    frames = [frame for frame, _ in zip(endless, range(25), strict=False)]
    assert len(frames) == 25


def test_unreadable_image_is_skipped_once_with_a_line(tmp_path, caplog):
    write_image(tmp_path / "1.png", (1, 0, 0))
    (tmp_path / "2.png").write_bytes(b"not a picture")
    (tmp_path / "3.png").write_bytes(b"")
    write_image(tmp_path / "4.png", (4, 0, 0))
    source = open_source(str(tmp_path), repeat=2, rate_hz=1)
    with caplog.at_level(logging.WARNING):
        frames = list(source)
    assert [f.image[0, 0, 0] for f in frames] == [1, 4, 1, 4]
    assert [f.stamp_ns // 10**9 for f in frames] == [0, 1, 2, 3]
    assert len(caplog.records) == 2
    assert "2.png" in caplog.text
    assert source.num_frames == 4


def test_nothing_readable_is_an_error(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8 no more")
    with pytest.raises(SourceError) as error:
        list(open_source(str(path), repeat=0))
    assert "broken.jpg" in only_line(error)


def test_missing_path_empty_folder_and_wrong_type(tmp_path):
    with pytest.raises(SourceError) as error:
        open_source(str(tmp_path / "nowhere.mp4"))
    assert "nowhere.mp4" in only_line(error)
    with pytest.raises(SourceError) as error:
        open_source(str(tmp_path))
    assert ".png" in only_line(error)
    text = tmp_path / "readme.txt"
    text.write_text("hello")
    with pytest.raises(SourceError) as error:
        open_source(str(text))
    assert "readme.txt" in only_line(error)
    with pytest.raises(SourceError) as error:
        open_source(str(text), rate_hz=0)
    assert "0 Hz" in only_line(error) or "above 0" in only_line(error)


# Calibration beside the images


@pytest.mark.parametrize("name", ["7_K.npy", "7_img_K.npy", "K.npy"])
def test_matrix_beside_the_image_is_used(tmp_path, name):
    path = write_image(tmp_path / "7_img.jpg", (1, 2, 3))
    np.save(tmp_path / name, K.astype(np.float32))
    (frame,) = open_source(str(path))
    np.testing.assert_array_equal(frame.camera.K, K)
    assert not frame.camera.assumed


def test_own_matrix_wins_over_the_folders(tmp_path):
    write_image(tmp_path / "1_img.png", (0, 0, 0))
    write_image(tmp_path / "2_img.png", (0, 0, 0))
    np.save(tmp_path / "K.npy", K)
    np.save(tmp_path / "2_K.npy", K * [[2], [2], [1]])
    focal = [f.camera.K[0, 0] for f in open_source(str(tmp_path))]
    assert focal == [300.0, 600.0]


@pytest.mark.parametrize("wrong", [np.eye(4), np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_a_matrix_no_camera_has_is_an_error(tmp_path, wrong):
    path = write_image(tmp_path / "a.png", (0, 0, 0))
    np.save(tmp_path / "a_K.npy", wrong)
    with pytest.raises(SourceError) as error:
        list(open_source(str(path)))
    assert "a_K.npy" in only_line(error)


def test_pickled_matrix_is_refused(tmp_path):
    path = write_image(tmp_path / "a.png", (0, 0, 0))
    np.save(tmp_path / "a_K.npy", np.array([{"K": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError) as error:
        list(open_source(str(path)))
    assert "a_K.npy" in only_line(error)


def test_camera_info_file_is_read(tmp_path):
    path = tmp_path / "info.yaml"
    path.write_text(CAMERA_INFO)
    camera = camera_from_yaml(path)
    assert (camera.width, camera.height) == (640, 480)
    assert camera.K.tolist() == [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
    assert camera.D.tolist() == [-0.2, 0.1, 0.001, 0, 0]
    assert camera.distortion_model == "plumb_bob"
    assert not camera.assumed


def test_camera_info_goes_before_the_matrix_beside_the_image(tmp_path):
    image = write_image(tmp_path / "a.png", (0, 0, 0), size=(640, 480))
    np.save(tmp_path / "a_K.npy", K)
    path = tmp_path / "info.yaml"
    path.write_text(CAMERA_INFO)
    (frame,) = open_source(str(image), camera_info_path=path)
    assert frame.camera.K[0, 0] == 500.0


@pytest.mark.parametrize(
    "text",
    [
        "image_width: 640",
        "[1, 2, 3]",
        "",
        "a: [",
        CAMERA_INFO.replace("500.0", "0.0"),
        CAMERA_INFO.replace("plumb_bob", "magic"),
        CAMERA_INFO.replace("640", "wide"),
    ],
)
def test_unusable_camera_info_is_an_error(tmp_path, text):
    path = tmp_path / "info.yaml"
    path.write_text(text)
    with pytest.raises(SourceError) as error:
        camera_from_yaml(path)
    assert "info.yaml" in only_line(error)
    with pytest.raises(SourceError, match=r"gone\.yaml"):
        camera_from_yaml(tmp_path / "gone.yaml")


def test_calibration_follows_a_resized_image():
    camera = Camera(640, 480, np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]))
    half = fitted(camera, 320, 240, "image")
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3)) + np.array([0, 0, 1])
    # Two by two pixels become one, whose centre is the middle of theirs.
    np.testing.assert_allclose(
        half.project(points), (camera.project(points) + 0.5) / 2 - 0.5, atol=1e-9
    )
    with pytest.raises(SourceError) as error:
        fitted(camera, 640, 360, "clip.mp4")
    assert "640 x 360" in only_line(error)


def test_real_photographs_sort_and_find_their_matrices(tmp_path):
    for name, focal in (("64", 400.0), ("119", 500.0), ("2299", 700.0)):
        write_image(tmp_path / f"{name}_img.jpg", (0, 0, 0))
        np.save(tmp_path / f"{name}_K.npy", K * [[focal / 300], [focal / 300], [1]])
    frames = list(open_source(str(tmp_path)))
    np.testing.assert_allclose([f.camera.K[0, 0] for f in frames], [400, 500, 700])


# Video


def test_video_has_its_own_pace(tmp_path):
    path = write_video(tmp_path / "clip.avi", [0, 60, 120, 180, 240])
    source = open_source(str(path), start_ns=7)
    assert source.rate_hz == pytest.approx(12.5)
    assert source.num_frames == 5
    for _ in range(2):  # each iteration starts at the beginning
        frames = list(source)
        assert [f.stamp_ns for f in frames] == [7 + i * 80_000_000 for i in range(5)]
        blue = [int(f.image[20, 20, 2]) for f in frames]
        np.testing.assert_allclose(blue, [0, 60, 120, 180, 240], atol=12)
        assert all(f.image.shape == (48, 64, 3) for f in frames)
    assert source.camera.assumed


def test_video_takes_the_matrix_beside_it(tmp_path):
    path = write_video(tmp_path / "clip.avi", [0])
    np.save(tmp_path / "clip_K.npy", K)
    (frame,) = open_source(str(path))
    np.testing.assert_array_equal(frame.camera.K, K)


@pytest.mark.parametrize("content", [b"", b"RIFF nothing"])
def test_video_without_frames_is_an_error(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError) as error:
        open_source(str(path))
    assert "clip.mp4" in only_line(error)


def test_stamps_of_a_video_without_times_are_made_from_its_rate(tmp_path, monkeypatch):
    class Timeless(FakeCapture):
        def get(self, what):
            return 20.0 if what == cv2.CAP_PROP_FPS else 0.0

    monkeypatch.setattr(video.cv2, "VideoCapture", lambda _: Timeless(3))
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"")
    source = open_source(str(path))
    assert source.num_frames is None
    assert [f.stamp_ns for f in source] == [0, 50_000_000, 100_000_000]


# Webcam, with a capture of our own in place of a device


class FakeCapture:
    def __init__(self, frames, size=(64, 48)):
        self.left, self.size = frames, size
        self.open, self.asked = True, {}

    def set(self, what, value):
        self.asked[what] = value
        return True

    def get(self, what):
        return 25.0 if what == cv2.CAP_PROP_FPS else 0.0

    def isOpened(self):
        return self.open

    def grab(self):
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, np.full((self.size[1], self.size[0], 3), (10, 20, 30), np.uint8)

    def read(self):
        return self.retrieve() if self.grab() else (False, None)

    def release(self):
        self.open = False


def test_webcam_frames_have_the_clocks_time(monkeypatch):
    capture = FakeCapture(100)
    monkeypatch.setattr(webcam, "open_capture", lambda device: capture if device == 2 else None)
    clock = iter(range(1000, 2000, 10))
    monkeypatch.setattr(webcam.time, "time_ns", lambda: next(clock))
    source = open_source("webcam:2", rate_hz=60)
    assert capture.asked[cv2.CAP_PROP_FPS] == 60
    assert source.rate_hz == 25.0
    assert source.num_frames is None
    frames = [frame for frame, _ in zip(source, range(4), strict=False)]
    assert [f.stamp_ns for f in frames] == [1000, 1010, 1020, 1030]
    assert frames[0].image[0, 0].tolist() == [30, 20, 10]
    assert frames[0].camera.assumed
    source.close()
    assert not capture.open
    assert list(source) == []


def test_webcam_that_goes_away_is_an_error(monkeypatch):
    monkeypatch.setattr(webcam, "open_capture", lambda device: FakeCapture(4))
    frames = iter(WebcamSource(0))
    for _ in range(3):  # one was used to learn the size
        next(frames)
    with pytest.raises(SourceError) as error:
        next(frames)
    assert "camera 0" in only_line(error)


def test_webcam_keeps_to_its_calibration(monkeypatch):
    capture = FakeCapture(9, size=(64, 36))
    monkeypatch.setattr(webcam, "open_capture", lambda device: capture)
    camera = Camera.from_fov(64, 48, 60)
    with pytest.raises(SourceError, match="64 x 36"):
        WebcamSource(0, camera=camera)
    assert capture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert not capture.open


@pytest.mark.parametrize("spec", ["webcam:63", "/dev/video63", "63"])
def test_missing_webcam_is_an_error(spec):
    with pytest.raises(SourceError) as error:
        open_source(spec)
    assert "camera 63" in only_line(error)


def test_a_folder_called_like_a_number_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3").mkdir()
    write_image(tmp_path / "3" / "a.png", (5, 0, 0))
    assert [f.image[0, 0, 0] for f in open_source("3")] == [5]


def test_nominal_stamps_do_not_drift():
    assert nominal_stamp_ns(0, 30.0, 11) == 11
    assert nominal_stamp_ns(3, 30.0) == 100_000_000
    assert nominal_stamp_ns(30 * 3600 * 24, 30.0) == 86_400_000_000_000
