import subprocess
import sys

import cv2
import numpy as np
import pytest

from hand_mesh_ros.evaluation.calibration import calibration
from hand_mesh_ros.evaluation.plots import (
    plot_error_by_joint,
    plot_error_by_view,
    plot_pck,
    plot_reliability,
    plot_worst_cases,
)

RNG = np.random.default_rng(0)
ERRORS_MM = RNG.uniform(2.0, 12.0, (200, 21))


def picture(path) -> np.ndarray:
    """(H, W, 3) RGB of a PNG that must be one and must show something."""
    assert path.read_bytes().startswith(b"\x89PNG")
    image = cv2.imread(str(path))[:, :, ::-1]
    assert image.std() > 5.0
    return image


def count(image: np.ndarray, rgb: tuple[int, int, int]) -> int:
    """Pixels of one colour."""
    return int((np.abs(image.astype(int) - rgb).max(-1) <= 8).sum())


def test_pck_curve_rises_with_better_errors(tmp_path):
    heights = []
    for name, scale in (("good", 1.5e-3), ("bad", 6e-3)):
        plot_pck(tmp_path / f"{name}.png", {name: scale * ERRORS_MM})
        curve = np.abs(picture(tmp_path / f"{name}.png").astype(int) - (31, 119, 180)).max(-1) < 60
        columns = curve[:, curve.shape[1] // 3 : curve.shape[1] // 2]  # 12 to 22 mm
        heights.append(np.nonzero(columns)[0].mean())
    assert heights[0] < heights[1] - 50  # pixels from the top


def test_bars_have_their_fingers_colours(tmp_path):
    errors = ERRORS_MM.copy()
    errors[:, 1:5] *= 3.0  # the thumb is bad
    plot_error_by_joint(tmp_path / "joints.png", errors)
    image = picture(tmp_path / "joints.png")
    thumb, little = count(image, (213, 94, 0)), count(image, (204, 121, 167))
    assert thumb > 2 * little > 1000


def test_view_plot_and_reliability_plot_and_sheet_are_drawn(tmp_path):
    angles = RNG.uniform(0.0, 180.0, 200)
    plot_error_by_view(tmp_path / "new" / "view.png", angles, ERRORS_MM.mean(1))
    picture(tmp_path / "new" / "view.png")  # the folder is made
    plot_error_by_view(tmp_path / "one.png", np.array([180.0]), np.array([3.0]))
    picture(tmp_path / "one.png")
    stddev = RNG.uniform(0.002, 0.01, (50, 21))
    report = calibration(RNG.normal(size=(50, 21, 3)) * stddev[..., None], stddev)
    plot_reliability(tmp_path / "reliability.png", report)
    picture(tmp_path / "reliability.png")


def test_sheet_shows_every_case(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]
    images = [np.full((80 + 10 * i, 120, 3), c, np.uint8) for i, c in enumerate(colours)]
    plot_worst_cases(tmp_path / "worst.png", images, [f"case {i}" for i in range(5)], columns=3)
    sheet = picture(tmp_path / "worst.png")
    for colour in colours:
        assert count(sheet, colour) > 5000


def test_empty_or_ill_shaped_input_is_refused(tmp_path):
    path = tmp_path / "none.png"
    with pytest.raises(ValueError, match="lifter is empty"):
        plot_pck(path, {"lifter": np.zeros((0, 21))})
    with pytest.raises(ValueError, match=r"\(5, 20\); expected \(B, 21\)"):
        plot_error_by_joint(path, np.zeros((5, 20)))
    with pytest.raises(ValueError, match=r"\(3,\), errors_mm \(4,\)"):
        plot_error_by_view(path, np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="1 images and 2 captions"):
        plot_worst_cases(path, [np.zeros((2, 2, 3), np.uint8)], ["a", "b"])
    assert not path.exists()


def test_matplotlib_and_torch_are_not_imported_before_they_are_needed():
    program = (
        "import sys; from hand_mesh_ros.evaluation import calibration, hand_errors, metrics, plots;"
        "from hand_mesh_ros.evaluation import published, submissions, summary, view_angle;"
        "bad = {'torch', 'matplotlib', 'mediapipe', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
