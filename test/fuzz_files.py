"""Files that come from elsewhere: weights, engines, hand models, recordings, pictures."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from camera_samples import START_NS, STORE, camera_info
from fuzz_messages import pictures
from fuzz_run import FuzzTarget
from fuzz_settings import FOLDER, YAML_TRAPS, written
from mano_like import as_chumpy_select, python2_pickle
from process_samples import write_bag, write_video

from hand_mesh_ros.backends.engine_cache import EngineCache, EngineCodec, EngineKey
from hand_mesh_ros.hand_models.safe_pickle import PickleReadError, load_plain_data
from hand_mesh_ros.networks.checkpoint_file import (
    CheckpointError,
    CheckpointFile,
    read_checkpoint_file,
    write_checkpoint_file,
)
from hand_mesh_ros.processing.bag_files import find_cameras, opened_bag
from hand_mesh_ros.processing.bag_source import BagSource
from hand_mesh_ros.processing.settings import FrameRange, ProcessingError
from hand_mesh_ros.ros.messages import image_message
from hand_mesh_ros.sources.base import SourceError
from hand_mesh_ros.sources.files import ImageSource
from hand_mesh_ros.sources.video import VideoSource

# Checkpoints


def _checkpoint():
    path = FOLDER / "good.safetensors"
    tensors = {"a.weight": np.eye(3, dtype=np.float32), "a.bias": np.zeros(3, np.float16)}
    about = CheckpointFile("lifter", {"width": 3}, "open_hand", "0" * 16, {}, {}, tensors)
    write_checkpoint_file(path, about)
    return path.read_bytes()


def _with_header(header, rest=b"\0" * 64):
    text = header.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + rest


def any_checkpoint(rng):
    """A safetensors file whose description is wrong somewhere."""
    about = {
        "format": 1,
        "parts": 1,
        "network": "lifter",
        "config": {},
        "hand_model": "open_hand",
        "hand_model_fingerprint": "0" * 16,
        "preprocessing": {},
        "training": {},
    }
    values = (None, 0, -1, 2, 1e999, 10**30, "", "x" * 3000, [], {}, [[]], True, "a\nb", "../x")
    for _ in range(int(rng.integers(0, 3))):
        about[str(rng.choice(list(about)))] = values[rng.integers(len(values))]
    text = json.dumps(about) if rng.random() < 0.9 else 5000 * "["
    kinds = ("F32", "F16", "BF16", "I64", "F8_E4M3", "BOOL", "X")
    sizes = (0, 1, 3, 16, -1, 2**40, 2**63)
    tensor = {
        "dtype": str(rng.choice(kinds)),
        "shape": [sizes[i] for i in rng.integers(len(sizes), size=int(rng.integers(0, 3)))],
        "data_offsets": [0, int(rng.choice([0, 4, 12, 64, 2**40]))],
    }
    return _with_header(json.dumps({"__metadata__": {"hand_mesh_ros": text}, "a": tensor}))


def _read_checkpoint(data):
    file = read_checkpoint_file(written("fuzz.safetensors", data))
    assert all(np.isfinite(t).all() for t in file.tensors.values() if t.dtype.kind == "f")


# Engines

_KEY = EngineKey("onnx", "small", "w0", "{}", "c0", "s0")
_CACHE = EngineCache(FOLDER / "engines", log=lambda line: None)
_CODEC = EngineCodec(lambda: "engine", lambda text, path: path.write_text(text), Path.read_text)


def _engine():
    """The note and the payload of an engine, divided by NUL."""
    shutil.rmtree(_CACHE.folder, ignore_errors=True)
    _CACHE.get(_KEY, _CODEC)
    return _CACHE._note(_KEY).read_bytes() + b"\0" + _CACHE._payload(_KEY).read_bytes()


def _read_engine(data):
    note, _, payload = data.partition(b"\0")
    _CACHE.folder.mkdir(exist_ok=True)
    _CACHE._note(_KEY).write_bytes(note)
    _CACHE._payload(_KEY).write_bytes(payload)
    assert _CACHE.get(_KEY, _CODEC) == "engine", "something else was taken for the engine"


# Pickles


def _pickles():
    arrays = {"v_template": np.eye(3), "f": np.arange(6, dtype=np.uint32).reshape(2, 3)}
    python2 = {**arrays, "shapedirs": as_chumpy_select(np.ones((2, 3, 2))), "bs_style": "lbs"}
    nested = {"a": [1, None, {"b": (2.5, "x")}], "c": np.float32(1.5), "d": b"bytes"}
    return [
        python2_pickle(python2),
        *(pickle.dumps(arrays, protocol) for protocol in (2, 3, 4)),
        *(pickle.dumps(nested, protocol) for protocol in (2, 4)),
        pickle.dumps({"x": OrderedDict(a=1)}, 2),
        pickle.dumps({"x": SimpleNamespace(a=1)}, 4),
    ]


_OPCODES = b"().0123NKMJIGLlFSTUXVtad}eubRcibopqrghj]sQ\x80\x81\x85\x86\x87\x88\x8a\x8c\x94\x93\x97"


def any_pickle(rng):
    """Opcodes of a good file with others between them."""
    data = bytearray(_PICKLES[rng.integers(len(_PICKLES))])
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(2, len(data)))
        insert = bytes(
            _OPCODES[i] for i in rng.integers(len(_OPCODES), size=int(rng.integers(1, 4)))
        )
        data[at : at + int(rng.integers(0, 2))] = insert
    return bytes(data)


def _read_pickle(data):
    load_plain_data(written("hand.pkl", data))


# Recordings


def _bag(storage):
    path = FOLDER / f"good_{storage}"
    shutil.rmtree(path, ignore_errors=True)
    pixels = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    write_bag(
        path,
        [
            ("/c/camera_info", START_NS, camera_info(width=16, height=12)),
            *(
                ("/c/image_raw", START_NS + i, image_message(STORE, pixels, START_NS + i, "cam"))
                for i in range(2)
            ),
        ],
        storage=storage,
    )
    return path


def _read_bag(path):
    with opened_bag(path) as reader:
        (camera, *_) = find_cameras(reader, path, STORE, topics=(), camera_info="")
    source = BagSource(path, camera, store=STORE, frames=FrameRange(), assumed_fov_deg=60.0)
    for _ in source:
        pass


def _bag_target(storage, suffix, share):
    good = _bag(storage)
    (file,) = good.glob(f"*{suffix}")
    metadata = (good / "metadata.yaml").read_bytes()
    folder = FOLDER / f"fuzz_{storage}"
    folder.mkdir(exist_ok=True)
    content = file.read_bytes()
    lines = metadata.decode().splitlines()

    def decode(data):
        """The bag's file, and behind the last of these marks its metadata."""
        bag, _, notes = data.rpartition(b"\0metadata\0")
        (folder / file.name).write_bytes(bag)
        (folder / "metadata.yaml").write_bytes(notes)
        _read_bag(folder)

    def make(rng):
        changed = list(lines)
        at = int(rng.integers(len(lines)))
        trap = str(YAML_TRAPS[rng.integers(len(YAML_TRAPS))])
        changed[at] = f"{lines[at].split(':')[0]}: {trap}"
        return content + b"\0metadata\0" + "\n".join(changed).encode()

    return FuzzTarget(
        f"bags ({storage})",
        (ProcessingError,),
        [content + b"\0metadata\0" + metadata],
        decode,
        make,
        share=share,
    )


def _video():
    frames = [SimpleNamespace(image=np.full((48, 64, 3), 40 * i, np.uint8)) for i in range(3)]
    mp4 = write_video(FOLDER / "good.mp4", frames).read_bytes()
    writer = cv2.VideoWriter(
        str(FOLDER / "good.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48)
    )
    for frame in frames:
        writer.write(frame.image)
    writer.release()
    return [mp4, (FOLDER / "good.avi").read_bytes()]


def _read_video(data):
    path = written("fuzz.mp4", data)
    for i, _ in enumerate(VideoSource(path)):
        if i > 10:
            return


def _read_picture(data):
    path = written("fuzz.png", data)
    for frame in ImageSource([path]):
        assert frame.image.shape[2] == 3


_PICKLES = _pickles()
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

TARGETS = [
    FuzzTarget(
        "checkpoints (safetensors)",
        (CheckpointError,),
        [_checkpoint()],
        _read_checkpoint,
        any_checkpoint,
        share=1.0,
    ),
    FuzzTarget("engine cache entries", (), [_engine()], _read_engine, share=0.3),
    FuzzTarget(
        "pickles of plain data", (PickleReadError,), _PICKLES, _read_pickle, any_pickle, share=2.0
    ),
    _bag_target("sqlite3", ".db3", 0.05),
    _bag_target("mcap", ".mcap", 0.05),
    FuzzTarget("videos", (SourceError,), _video(), _read_video, share=0.03),
    FuzzTarget("image files", (SourceError,), pictures(), _read_picture, share=0.5),
]
