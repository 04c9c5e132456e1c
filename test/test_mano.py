"""MANO files on a made-up hand: read, checked, mended, and skinned as smplx skins them."""

import logging
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from mano_like import TIPS, made_up_arrays, write_mano_like

from hand_mesh_ros.conventions import FINGERS, JOINT_NAMES, KEYPOINT_NAMES, Side
from hand_mesh_ros.hand_models.hand_model import KeypointRegressor
from hand_mesh_ros.hand_models.mano import find_mano, load_mano, mano_struct, read_mano
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.safe_pickle import UnsafePickleError

NO_SHAPE = np.zeros(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """MANO_RIGHT.pkl, and MANO_LEFT.pkl with the released file's fault."""
    path = tmp_path_factory.mktemp("mano")
    write_mano_like(path / "MANO_RIGHT.pkl", Side.RIGHT)
    write_mano_like(path / "MANO_LEFT.pkl", Side.LEFT, left_sign_error=True)
    return path


def random_pose(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 0.5, 48), rng.normal(0.0, 1.0, 10)


def write_npz(path, **changes):
    arrays = {**made_up_arrays(), **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


# Against smplx


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("flat_hand_mean", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_skinning_equals_smplx(folder, side, flat_hand_mean, seed):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    smplx = pytest.importorskip("smplx", reason="smplx is not installed")
    pose, shape = random_pose(seed)
    layer = smplx.MANO(
        model_path="",
        data_struct=mano_struct(folder, side),
        is_rhand=side is Side.RIGHT,
        use_pca=False,
        flat_hand_mean=flat_hand_mean,
        dtype=torch.float64,
    )
    with torch.no_grad():
        out = layer(
            betas=torch.tensor(shape)[None],
            global_orient=torch.tensor(pose[:3])[None],
            hand_pose=torch.tensor(pose[3:])[None],
        )
    wrist = out.joints[0, 0].numpy()
    hand = load_mano(folder, side, flat_hand_mean=flat_hand_mean).pose_hand(pose, shape)
    # smplx stores its float64 model rounded to float32, so 1e-6 m is what it can hold.
    np.testing.assert_allclose(hand.vertices_m, out.vertices[0].numpy() - wrist, atol=1e-6, rtol=0)
    np.testing.assert_allclose(hand.joints_m, out.joints[0].numpy() - wrist, atol=1e-6, rtol=0)


def test_struct_serves_principal_components(folder):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    smplx = pytest.importorskip("smplx", reason="smplx is not installed")
    layer = smplx.MANO(
        model_path="", data_struct=mano_struct(folder), num_pca_comps=6, dtype=torch.float64
    )
    coefficients = np.random.default_rng(5).normal(0.0, 1.0, 6)
    with torch.no_grad():
        out = layer(hand_pose=torch.tensor(coefficients)[None])
    pose = np.concatenate([np.zeros(3), coefficients @ made_up_arrays()["hands_components"][:6]])
    hand = load_mano(folder).pose_hand(pose, NO_SHAPE)
    expected = (out.vertices - out.joints[:, :1])[0].numpy()
    np.testing.assert_allclose(hand.vertices_m, expected, atol=1e-6, rtol=0)


def test_mean_pose_matters(folder):
    """Mixing up `flat_hand_mean` is centimetres, so the smplx test above can fail."""
    zero = np.zeros(48)
    flat = load_mano(folder, flat_hand_mean=True).pose_hand(zero, NO_SHAPE).joints_m
    mean = load_mano(folder, flat_hand_mean=False).pose_hand(zero, NO_SHAPE).joints_m
    assert np.linalg.norm(flat - mean, axis=1).max() > 0.005
    truth = made_up_arrays()["J"]
    np.testing.assert_allclose(flat, truth - truth[0], atol=1e-12)


# Keypoints


def test_anatomical_keypoints_are_joints_and_freihand_tips_by_name(folder):
    arrays = made_up_arrays()
    model = load_mano(folder, flat_hand_mean=True)
    _, shape = random_pose(2)
    hand = model.pose_hand(np.zeros(48), shape)
    keypoints = model.keypoints(hand, shape, "anatomical")
    vertices = arrays["v_template"] + arrays["shapedirs"] @ shape
    joints = arrays["J_regressor"] @ vertices
    for name, point in zip(KEYPOINT_NAMES, keypoints, strict=True):
        finger = name.split("_")[0]
        is_tip = name.endswith("_tip")
        truth = vertices[TIPS[finger]] if is_tip else joints[JOINT_NAMES.index(name)]
        np.testing.assert_allclose(point, truth - joints[0], atol=1e-12, err_msg=name)


def test_tip_keypoints_follow_their_vertex_when_posed(folder):
    """The made-up hand's tips move with the last joint alone, so they stay on the skin."""
    pose, shape = random_pose(4)
    model = replace(load_mano(folder), pose_dirs_m=None)
    hand = model.pose_hand(pose, shape)
    keypoints = model.keypoints(hand, shape, "anatomical")
    tips = hand.vertices_m[[TIPS[finger] for finger in FINGERS]]
    np.testing.assert_allclose(keypoints[[4, 8, 12, 16, 20]], tips, atol=1e-12)


def test_detector_keypoints_are_the_anatomical_ones_until_calibrated(folder):
    model = load_mano(folder)
    assert model.keypoint_regressors["detector"] is model.keypoint_regressors["anatomical"]
    mine = KeypointRegressor(np.zeros(21, int), np.ones((21, 3)), np.zeros((21, 3, 10)))
    model = load_mano(folder, detector=mine)
    assert model.keypoint_regressors["detector"] is mine
    np.testing.assert_array_equal(model.keypoint_regressors["anatomical"].offset_m[9], 0.0)


@pytest.mark.parametrize("side", list(Side))
def test_flexion_axes_bend_towards_the_palm(folder, side):
    model = load_mano(folder, side, flat_hand_mean=True)
    keypoints = model.keypoints_at_rest("anatomical")
    assert np.linalg.norm(model.flexion_axes, axis=1) == pytest.approx(np.ones(16))
    for joint in range(1, 13):  # the four fingers
        pose = np.zeros((16, 3))
        pose[joint] = np.radians(30.0) * model.flexion_axes[joint]
        bent = model.keypoints(model.pose_hand(pose.reshape(48), NO_SHAPE), NO_SHAPE, "anatomical")
        moved = (bent - keypoints)[[8, 12, 20, 16][(joint - 1) // 3]]
        assert moved[1] < -0.007, JOINT_NAMES[joint]


def test_flexion_rule_gives_the_measured_axes_of_the_open_hand():
    from hand_mesh_ros.hand_models.mano import _flexion_axes

    model = load_open_hand()
    keypoints = model.keypoints_at_rest("anatomical")
    axes = _flexion_axes(keypoints)
    bones = np.delete(np.diff(keypoints, axis=0), [0, 4, 8, 12, 16], axis=0)  # thumb to little
    for joint, bone in zip([13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9], bones, strict=True):
        bone = bone / np.linalg.norm(bone)
        measured = model.flexion_axes[joint] - (model.flexion_axes[joint] @ bone) * bone
        cosine = axes[joint] @ measured / np.linalg.norm(measured)
        assert np.degrees(np.arccos(cosine)) < 25.0, JOINT_NAMES[joint]


# Left hands


def test_left_sign_error_is_mended(folder):
    truth = made_up_arrays(Side.LEFT)["shapedirs"]
    np.testing.assert_array_equal(load_mano(folder, Side.LEFT).shape_dirs_m, truth)
    np.testing.assert_array_equal(mano_struct(folder, Side.LEFT).shapedirs, truth)


def test_left_hand_without_the_error_is_left_alone(tmp_path, folder):
    shutil.copy(folder / "MANO_RIGHT.pkl", tmp_path)
    truth = write_mano_like(tmp_path / "MANO_LEFT.pkl", Side.LEFT)
    np.testing.assert_array_equal(read_mano(tmp_path, Side.LEFT)["shapedirs"], truth["shapedirs"])


def test_left_hand_alone_is_read_with_a_warning(tmp_path, folder, caplog):
    shutil.copy(folder / "MANO_LEFT.pkl", tmp_path)
    with caplog.at_level(logging.WARNING):
        read_mano(tmp_path, Side.LEFT)
    assert "MANO_RIGHT.pkl" in caplog.text


def test_mirrored_right_model_is_the_left_model(folder):
    left, mirrored = load_mano(folder, Side.LEFT), load_mano(folder).mirrored()
    assert left.side is mirrored.side is Side.LEFT
    for name in ("template_m", "faces", "shape_dirs_m", "joint_regressor", "skinning_weights"):
        np.testing.assert_array_equal(getattr(mirrored, name), getattr(left, name), err_msg=name)
    for name in ("pose_dirs_m", "pose_mean"):
        np.testing.assert_array_equal(getattr(mirrored, name), getattr(left, name), err_msg=name)
    np.testing.assert_allclose(mirrored.flexion_axes, left.flexion_axes, atol=1e-12)
    for got, expected in zip(
        mirrored.keypoint_regressors.values(), left.keypoint_regressors.values(), strict=True
    ):
        np.testing.assert_array_equal(got.joint, expected.joint)
        np.testing.assert_allclose(got.offset_m, expected.offset_m, atol=1e-15)
        np.testing.assert_allclose(got.offset_dirs_m, expected.offset_dirs_m, atol=1e-15)


@pytest.mark.parametrize("side", list(Side))
def test_the_other_hand_under_this_name_is_refused(tmp_path, folder, side):
    shutil.copy(folder / f"MANO_{side.opposite.name}.pkl", tmp_path / f"MANO_{side.name}.pkl")
    with pytest.raises(ValueError, match=f"has a {side.opposite.name.lower()} hand"):
        load_mano(tmp_path, side)


# Finding and checking files


@pytest.mark.parametrize("below", ["", "models", "mano", "mano_v1_2/models"])
@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_files_are_found_where_archives_put_them(tmp_path, below, suffix):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    file = tmp_path / below / f"MANO_RIGHT{suffix}"
    file.touch()
    assert find_mano(tmp_path, Side.RIGHT) == file
    assert find_mano(file, Side.RIGHT) == file


@pytest.mark.parametrize("path", ["", "none", "none/MANO_RIGHT.pkl"])
def test_no_file_says_where_to_get_it(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl.*mano\.is\.tue\.mpg\.de"):
        load_mano(tmp_path / path)


def test_npz_gives_the_same_model(tmp_path, folder):
    write_npz(tmp_path / "MANO_RIGHT.npz")
    for key, value in read_mano(folder).items():
        np.testing.assert_array_equal(read_mano(tmp_path)[key], value, err_msg=key)


@pytest.mark.parametrize("key", ["v_template", "J_regressor", "hands_mean", "f"])
def test_missing_key_is_named(tmp_path, key):
    write_npz(tmp_path / "MANO_RIGHT.npz", **{key: None})
    with pytest.raises(ValueError, match=rf"MANO_RIGHT\.npz.*'{key}' is missing"):
        load_mano(tmp_path)


@pytest.mark.parametrize(
    ("key", "change", "says"),
    [
        ("v_template", lambda a: a[:777], r"float64 \(777, 3\), MANO's is numbers \(778, 3\)"),
        ("shapedirs", lambda a: a[:, :, :9], r"\(778, 3, 9\)"),
        ("posedirs", lambda a: a.astype("U4"), "<U4"),
        ("weights", lambda a: a * np.nan, "not finite"),
        ("weights", lambda a: a * 0.9, "do not sum to 1"),
        ("J_regressor", lambda a: a + 1e-3, "do not sum to 1"),
        ("f", lambda a: a + 1, "outside 0 to 777"),
        ("kintree_table", lambda a: a[:, ::-1], "another skeleton"),
    ],
)
def test_wrong_content_names_file_and_key(tmp_path, key, change, says):
    write_npz(tmp_path / "MANO_RIGHT.npz", **{key: change(made_up_arrays()[key])})
    with pytest.raises(ValueError, match=rf"MANO_RIGHT\.npz: '?.*{key}.*{says}"):
        load_mano(tmp_path)


def test_hostile_and_broken_files_are_value_errors(tmp_path):
    file = tmp_path / "MANO_RIGHT.pkl"
    file.write_bytes(pickle.dumps({"v_template": print}, 2))
    with pytest.raises(UnsafePickleError, match=r"MANO_RIGHT\.pkl.*print"):
        load_mano(tmp_path)
    file.write_bytes(pickle.dumps({"weights": 1.0}, 2))
    with pytest.raises(ValueError, match="'v_template' is missing"):
        load_mano(tmp_path)
    file.unlink()
    np.savez(tmp_path / "MANO_RIGHT.npz", v_template=np.array([print], object))
    with pytest.raises(ValueError, match=r"not a readable \.npz"):
        load_mano(tmp_path)
    (tmp_path / "MANO_RIGHT.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"not a readable \.npz"):
        load_mano(tmp_path)
