"""Makers of tiny folders in exactly the public datasets' formats, with the truth they stand for.

Every hand is made in the dataset's own axes by an obvious MANO forward pass on a made-up hand, and
every joint order is written out by name, so nothing here leans on the code under test.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from mano_like import made_up_arrays, python2_pickle, write_mano_like

from hand_mesh_ros.conventions import JOINT_NAMES, KEYPOINT_NAMES, Side

FINGERS = {
    "thumb": ("cmc", "mcp", "ip", "tip"),
    **{finger: ("mcp", "pip", "dip", "tip") for finger in ("index", "middle", "ring", "little")},
}
HO3D_ORDER = [
    "wrist",
    *(f"{f}_{j}" for f in ("index", "middle", "little", "ring") for j in ("mcp", "pip", "dip")),
    *("thumb_cmc", "thumb_mcp", "thumb_ip"),
    *(f"{f}_tip" for f in ("thumb", "index", "middle", "ring", "little")),
]
INTERHAND_ORDER = [*(f"{f}_{j}" for f, js in FINGERS.items() for j in reversed(js)), "wrist"]
RHD_ORDER = ["wrist", *(f"{f}_{j}" for f, js in FINGERS.items() for j in reversed(js))]
FREIHAND_TIPS = (744, 320, 443, 555, 672)
MANOPTH_TIPS = {Side.RIGHT: (745, 317, 444, 556, 673), Side.LEFT: (745, 317, 445, 556, 673)}
OPENGL = np.array([1.0, -1.0, -1.0])


@dataclass
class TrueHand:
    """What a sample must say, in OpenCV camera axes."""

    side: Side
    pose: np.ndarray
    shape: np.ndarray
    vertices_m: np.ndarray
    points_m: dict[str, np.ndarray]

    @property
    def keypoints_m(self):
        return np.array([self.points_m[name] for name in KEYPOINT_NAMES])


def mano_forward(arrays, pose, shape, trans):
    """(778, 3) and (16, 3) in MANO's own frame plus trans; `pose` is absolute."""
    vertices = arrays["v_template"] + arrays["shapedirs"] @ shape
    joints = arrays["J_regressor"] @ vertices
    R = [cv2.Rodrigues(np.asarray(aa, float))[0] for aa in np.reshape(pose, (16, 3))]
    vertices = vertices + arrays["posedirs"] @ np.ravel([r - np.eye(3) for r in R[1:]])
    T = []
    for j in range(16):
        parent = -1 if j == 0 else int(arrays["kintree_table"][0, j])
        local = np.eye(4)
        local[:3, :3] = R[j]
        local[:3, 3] = joints[j] - (joints[parent] if j else 0.0)
        T.append(local if j == 0 else T[parent] @ local)
    posed = np.zeros((778, 3))
    for j in range(16):
        weight = arrays["weights"][:, j, None]
        posed += weight * ((vertices - joints[j]) @ T[j][:3, :3].T + T[j][:3, 3])
    return posed + trans, np.array([t[:3, 3] for t in T]) + trans


def named_points(vertices, joints, tips):
    points = dict(zip(JOINT_NAMES, joints, strict=True))
    return points | {f"{f}_tip": vertices[v] for f, v in zip(FINGERS, tips, strict=True)}


def in_order(points, names):
    return np.array([points[name] for name in names])


def random_hand(rng, *, about_mean=None):
    """Pose (absolute unless told the mean) and shape."""
    pose = np.concatenate([rng.normal(0.0, 1.0, 3), rng.normal(0.0, 0.3, 45)])
    return pose + (0.0 if about_mean is None else np.append(np.zeros(3), about_mean)), rng.normal(
        0.0, 1.0, 10
    )


def write_image(path, number, width, height):
    """A picture of one colour that tells its number: red 10 + number, green 100, blue 200."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (200, 100, 10 + number)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def mano_folder(folder: Path):
    """Made-up MANO files of both hands; the left one with the released file's sign error."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mano_like(folder / "MANO_RIGHT.pkl", Side.RIGHT)
    write_mano_like(folder / "MANO_LEFT.pkl", Side.LEFT, left_sign_error=True)
    return folder


def project(points_m, K):
    uvw = points_m @ np.asarray(K).T
    return uvw[:, :2] / uvw[:, 2:]


def make_freihand(root, frames=3, backgrounds=4):
    """Training frames with all backgrounds, and as many evaluation frames; returns both truths."""
    arrays = made_up_arrays()
    truth = {}
    for split, copies in (("training", backgrounds), ("evaluation", 1)):
        rng = np.random.default_rng(len(split))
        hands, mano, K = [], [], []
        for frame in range(frames):
            stored, shape = random_hand(rng)
            pose = stored + np.append(np.zeros(3), arrays["hands_mean"])
            vertices, joints = mano_forward(arrays, pose, shape, [0.01, 0.02, 0.6])
            points = named_points(vertices, joints, FREIHAND_TIPS)
            hands.append(TrueHand(Side.RIGHT, pose, shape, vertices, points))
            mano.append([[*stored, *shape, 112.0, 112.0, 1.0]])
            K.append([[480.0 + frame, 0.0, 112.0], [0.0, 470.0, 110.0], [0.0, 0.0, 1.0]])
            for copy in range(copies):
                number = frame + frames * copy
                write_image(root / split / "rgb" / f"{number:08d}.jpg", number, 224, 224)
        write_json(root / f"{split}_K.json", K)
        write_json(root / f"{split}_xyz.json", [h.keypoints_m.tolist() for h in hands])
        write_json(root / f"{split}_verts.json", [h.vertices_m.tolist() for h in hands])
        write_json(root / f"{split}_mano.json", np.array(mano).tolist())
        truth[split] = hands
    return truth


HO3D_K = np.array([[617.0, 0.0, 312.0], [0.0, 616.0, 241.0], [0.0, 0.0, 1.0]])


def make_ho3d(root, *, version, frames=2):
    """Train and evaluation splits with public evaluation labels; returns both truths.

    v2 has Python 2's pickles and png, v3 Python 3's and jpg.
    """
    arrays, truth = made_up_arrays(), {}
    suffix = {"v2": ".png", "v3": ".jpg"}[version]
    for split in ("train", "evaluation"):
        rng = np.random.default_rng(len(split))
        hands, opengl, lines = [], [], []
        for frame in range(frames):
            sequence, name = f"ABF{10 + frame}", f"{frame + 7:04d}"
            pose, shape = random_hand(rng)
            trans = np.array([0.03, -0.05, -0.6])
            vertices, joints = mano_forward(arrays, pose, shape, trans)
            points = named_points(vertices, joints, FREIHAND_TIPS)
            meta = {
                "camMat": HO3D_K,
                "objName": "021_bleach_cleanser",
                "objLabel": 3,
                "objRot": np.zeros((3, 1)),
                "camIDList": ["0", "1"],
                "handTrans": trans,
            }
            if split == "train":
                joints21 = in_order(points, HO3D_ORDER)
                meta |= {"handPose": pose, "handBeta": shape, "handJoints3D": joints21}
            else:
                wrist, box = points["wrist"], [100, 120, 300, 340]
                meta |= {"handJoints3D": wrist, "handBoundingBox": box}
            folder = root / split / sequence
            write_meta(folder / "meta" / f"{name}.pkl", meta, version)
            write_image(folder / "rgb" / f"{name}{suffix}", frame, 640, 480)
            lines.append(f"{sequence}/{name}")
            opengl.append((in_order(points, HO3D_ORDER), vertices))
            cv_points = {key: value * OPENGL for key, value in points.items()}
            # The pose is compared through the mesh: its global rotation is in other axes.
            hands.append(TrueHand(Side.RIGHT, pose, shape, vertices * OPENGL, cv_points))
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
        if split == "evaluation":
            write_json(root / "evaluation_xyz.json", [joints.tolist() for joints, _ in opengl])
            write_json(root / "evaluation_verts.json", [verts.tolist() for _, verts in opengl])
        truth[split] = hands
    return truth


def write_meta(path, meta, version):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(meta) if version == "v2" else pickle.dumps(meta, 4))


DEXYCB_SERIALS = [f"83621206012{i}" for i in range(8)]
DEXYCB_FRAMES = 3


def make_dexycb(root, subjects=range(10)):
    """All 1000 sequences' meta.yml; images and labels for the first camera of one sequence each.

    The hand is right in even sequences and left in odd ones, and absent in the first frame.
    Returns the truth by (subject, sequence, frame).
    """
    rng = np.random.default_rng(5)
    truth = {}
    for i, serial in enumerate(DEXYCB_SERIALS):
        color = {"fx": 610.0 + i, "fy": 611.0, "ppx": 315.0, "ppy": 245.0}
        write_yaml(
            root / "calibration" / "intrinsics" / f"{serial}_640x480.yml",
            {"color": color, "depth": {"fx": 1.0}},
        )
    shapes = rng.normal(0.0, 1.0, (10, 10)).round(6)
    for subject in subjects:
        name = f"202007{subject + 10}-person{subject}"
        write_yaml(
            root / "calibration" / f"mano_{name}_right" / "mano.yml",
            {"betas": shapes[subject].tolist()},
        )
        for number in range(100):
            folder = root / name / f"{name[:8]}_{number + 100000}"
            meta = {
                "serials": DEXYCB_SERIALS,
                "num_frames": DEXYCB_FRAMES,
                "mano_sides": ["right" if number % 2 == 0 else "left"],
                "mano_calib": [f"{name}_right"],
                "ycb_ids": [1, 2],
                "ycb_grasp_ind": 0,
            }
            write_yaml(folder / "meta.yml", meta)
            if (subject, number) in ((2, 4), (2, 9)):
                for frame in range(DEXYCB_FRAMES):
                    side = Side[meta["mano_sides"][0].upper()]
                    truth[subject, number, frame] = _dexycb_labels(
                        folder / DEXYCB_SERIALS[0], frame, side, shapes[subject], rng
                    )
    return truth


def _dexycb_labels(folder, frame, side, shape, rng):
    arrays = made_up_arrays(side)
    write_image(folder / f"color_{frame:06d}.jpg", frame, 640, 480)
    path = folder / f"labels_{frame:06d}.npz"
    labels = {"seg": np.zeros((480, 640), np.uint8), "pose_y": np.zeros((2, 3, 4), np.float32)}
    if frame == 0:
        absent = {
            "pose_m": np.zeros((1, 51), np.float32),
            "joint_3d": np.full((1, 21, 3), -1.0, np.float32),
            "joint_2d": np.full((1, 21, 2), -1.0, np.float32),
        }
        np.savez(path, **labels, **absent)
        return None
    coefficients, turn = rng.normal(0.0, 0.5, 45), rng.normal(0.0, 1.0, 3)
    fingers = coefficients @ arrays["hands_components"] + arrays["hands_mean"]
    pose, trans = np.concatenate([turn, fingers]), np.array([0.05, -0.02, 0.8])
    vertices, joints = mano_forward(arrays, pose, shape, trans)
    points = named_points(vertices, joints, MANOPTH_TIPS[side])
    hand = TrueHand(side, pose, shape, vertices, points)
    K = [[610.0, 0.0, 315.0], [0.0, 611.0, 245.0], [0.0, 0.0, 1.0]]
    np.savez(
        path,
        **labels,
        pose_m=np.concatenate([turn, coefficients, trans])[None],
        joint_3d=hand.keypoints_m[None],
        joint_2d=project(hand.keypoints_m, K)[None],
    )
    return hand


def write_yaml(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def make_interhand(root, split="test"):
    """Three pictures: right, left, both (whose left hand has a lost thumb tip).

    Returns the truth by (frame, side), and the joints' truth apart from MANO's mesh: they are
    shifted by a centimetre, since the dataset's joints are not MANO's.
    """
    rng = np.random.default_rng(11)
    R = cv2.Rodrigues(np.array([0.3, -0.8, 0.4]))[0]
    campos_mm = np.array([100.0, -200.0, -900.0])
    cameras = {
        "5": {
            "campos": {"400030": campos_mm.tolist()},
            "camrot": {"400030": R.tolist()},
            "focal": {"400030": [1200.0, 1210.0]},
            "princpt": {"400030": [160.0, 250.0]},
        }
    }
    images, annotations, joints_3d, fits, truth = [], [], {}, {}, {}
    for frame, hand_type in enumerate(("right", "left", "interacting")):
        world_mm, valid = np.ones((42, 3)), np.zeros(42)
        fits[str(frame)] = {"right": None, "left": None}
        for side in Side:
            name = side.name.lower()
            if hand_type not in (name, "interacting"):
                continue
            arrays = made_up_arrays(side)
            stored, shape = random_hand(rng)
            pose = stored + np.append(np.zeros(3), arrays["hands_mean"])
            trans = np.array([0.0, 0.1 * side, 0.05])
            vertices, joints = mano_forward(arrays, pose, shape, trans)
            points = named_points(vertices, joints, FREIHAND_TIPS)
            part = slice(0, 21) if side is Side.RIGHT else slice(21, 42)
            world_mm[part] = 1000.0 * (in_order(points, INTERHAND_ORDER) + 0.01)
            valid[part] = 1.0
            fits[str(frame)][name] = {
                "pose": stored.tolist(),
                "shape": shape.tolist(),
                "trans": trans.tolist(),
            }
            in_camera = {
                key: R @ (value + 0.01 - campos_mm / 1000.0) for key, value in points.items()
            }
            mesh = (vertices - campos_mm / 1000.0) @ R.T
            truth[frame, side] = TrueHand(side, pose, shape, mesh, in_camera)
        if hand_type == "interacting":
            valid[21], world_mm[21] = 0.0, 1.0  # the left thumb's tip comes first
        file_name = f"Capture5/0266_dh_pray/cam400030/image{frame}.jpg"
        write_image(root / "images" / split / file_name, frame, 334, 512)
        images.append(
            {"id": 70 + frame, "file_name": file_name, "width": 334, "height": 512}
            | {"capture": 5, "seq_name": "0266_dh_pray", "camera": "400030", "frame_idx": frame}
        )
        annotations.append(
            {"id": frame, "image_id": 70 + frame, "bbox": [10.0, 20.0, 100.0, 150.0]}
            | {"joint_valid": valid.tolist(), "hand_type": hand_type, "hand_type_valid": 1}
        )
        joints_3d[str(frame)] = {
            "world_coord": world_mm.tolist(),
            "joint_valid": valid.tolist(),
            "hand_type": hand_type,
        }
    stem = root / "annotations" / split / f"InterHand2.6M_{split}"
    write_json(Path(f"{stem}_data.json"), {"images": images, "annotations": annotations})
    write_json(Path(f"{stem}_camera.json"), cameras)
    write_json(Path(f"{stem}_joint_3d.json"), {"5": joints_3d})
    write_json(Path(f"{stem}_MANO_NeuralAnnot.json"), {"5": fits})
    return truth


def make_coco(root, split="val"):
    """Three people in one picture; returns the (21, 3) points of the first one's left hand.

    The first one's right hand is called not valid, the second has a left hand with five points
    alone and a right hand, the third no hands.
    """
    rng = np.random.default_rng(3)
    write_image(root / f"{split}2017" / "000000000139.jpg", 0, 64, 48)

    def person(number, left, right):
        hands = {}
        for name, points in (("lefthand", left), ("righthand", right)):
            hands |= {
                f"{name}_valid": points is not None and points is not blurred,
                f"{name}_kpts": np.zeros(63).tolist()
                if points is None
                else points.ravel().tolist(),
                f"{name}_box": [0.0] * 4 if points is None else [5.0, 6.0, 20.0, 30.0],
            }
        return {"id": number, "image_id": 139, "keypoints": [0] * 51, **hands}

    def points(labelled):
        values = np.concatenate([rng.uniform(5.0, 40.0, (21, 2)), np.full((21, 1), 2.0)], axis=1)
        values[labelled:] = 0.0
        values[0, 2] = 1.0
        return values

    first, blurred = points(19), points(21)
    write_json(
        root / "annotations" / f"coco_wholebody_{split}_v1.0.json",
        {
            "images": [
                {"id": 139, "file_name": "000000000139.jpg", "width": 64, "height": 48},
            ],
            "annotations": [
                person(900, first, blurred),
                person(901, points(5), points(21)),
                person(902, None, None),
            ],
        },
    )
    return first


def make_hint(root, folder="TEST_newdays_img"):
    """A left and a right hand, and a label whose image is missing; returns the left hand's dict."""
    rng = np.random.default_rng(4)
    entries = {}
    for number, name in enumerate(("boat_12_l", "cook_3_r", "ego_0_r")):
        entries[name] = {
            "keypoints": rng.uniform(0.0, 50.0, (21, 2)).tolist(),
            "occlusion": [1 if k in (4, 8) else 0 for k in range(21)],
            "bbox": [[3.0, 4.0, 33.0, 44.0]],
        }
        write_json(root / folder / f"{name}.json", [entries[name]])
        if number < 2:
            write_image(root / folder / f"{name}.jpg", number, 60 + number, 50)
    return entries["boat_12_l"]


def make_rhd(root, split="training"):
    """Image 0 shows a right hand, image 3 both; returns K and the points by (image, side)."""
    rng = np.random.default_rng(6)
    K = np.array([[282.9, 0.0, 160.0], [0.0, 282.9, 161.0], [0.0, 0.0, 1.0]], np.float32)
    labels, truth = {}, {}
    for image, shown in ((0, (Side.RIGHT,)), (3, (Side.LEFT, Side.RIGHT))):
        xyz, visible = np.zeros((42, 3), np.float32), np.zeros(42, np.float32)
        for side in Side:
            part = slice(0, 21) if side is Side.LEFT else slice(21, 42)
            centre_m = np.array([0.0, 0.0, 0.7])
            points = {name: centre_m + rng.normal(0.0, 0.05, 3) for name in KEYPOINT_NAMES}
            xyz[part] = in_order(points, RHD_ORDER)
            if side in shown:
                visible[part] = 1.0
                visible[part.start + 1] = 0.0  # the thumb's tip is hidden
                truth[image, side] = points
        uv_vis = np.concatenate([project(xyz, K), visible[:, None]], axis=1)
        labels[image] = {"K": K, "xyz": xyz, "uv_vis": uv_vis}
        write_image(root / split / "color" / f"{image:05d}.png", image, 320, 320)
    path = root / split / f"anno_{split}.pickle"
    path.write_bytes(pickle.dumps(labels, 3))
    return truth
