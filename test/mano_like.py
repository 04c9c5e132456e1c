"""A made-up hand in MANO's exact file format, for tests; none of its numbers come from MANO.

The stream is what Python 2's cPickle writes at protocol 2: byte strings for text and array data,
module names of the old numpy and scipy, `shapedirs` as a chumpy Select of a chumpy Ch.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import scipy.sparse

from hand_mesh_ros.conventions import FINGER_JOINTS, FINGERS, JOINT_PARENTS, Side

TIPS = {"thumb": 744, "index": 320, "middle": 443, "ring": 555, "little": 672}
# Right hand, m: direction of each finger's bones, its base, three bone lengths.
_WRIST = np.array([0.096, 0.006, 0.006])
_FINGER = {
    "thumb": ([-0.6, -0.3, 0.74], [0.07, 0.0, 0.035], (0.04, 0.032, 0.026)),
    "index": ([-1.0, 0.0, 0.1], [0.005, 0.008, 0.03], (0.033, 0.022, 0.02)),
    "middle": ([-1.0, 0.0, 0.0], [0.0, 0.01, 0.006], (0.032, 0.024, 0.021)),
    "ring": ([-1.0, 0.0, -0.1], [0.008, 0.008, -0.016], (0.03, 0.023, 0.02)),
    "little": ([-1.0, 0.0, -0.25], [0.018, 0.004, -0.035], (0.022, 0.017, 0.016)),
}


def made_up_arrays(side: Side = Side.RIGHT, seed: int = 0) -> dict[str, np.ndarray]:
    """MANO's keys, in float64 and dense; the left hand is the right one seen in a mirror."""
    rng = np.random.default_rng(seed)
    joints, tips = _skeleton()
    vertices, weights, regressor = np.zeros((778, 3)), np.zeros((778, 16)), np.zeros((16, 778))
    free = [v for v in range(778) if v not in TIPS.values()]
    # Every joint is the mean of its own three pairs of opposite vertices, so it is known exactly.
    for joint in range(16):
        ring = [free.pop() for _ in range(6)]
        offsets = rng.normal(0.0, 0.006, (3, 3))
        vertices[ring] = joints[joint] + np.concatenate([offsets, -offsets])
        weights[ring, joint] += 0.5
        weights[ring, max(JOINT_PARENTS[joint], 0)] += 0.5
        regressor[joint, ring] = 1.0 / 6.0
    for i, finger in enumerate(FINGERS):
        vertices[TIPS[finger]] = tips[i]
        weights[TIPS[finger], FINGER_JOINTS[finger][2]] = 1.0
    for vertex in free:  # the others anywhere about a bone, with a blend of its two joints
        joint = int(rng.integers(16))
        parent = max(JOINT_PARENTS[joint], 0)
        along, share = rng.uniform(0.0, 1.0, 2)
        vertices[vertex] = joints[parent] + along * (joints[joint] - joints[parent])
        vertices[vertex] += rng.normal(0.0, 0.005, 3)
        weights[vertex, joint] += share
        weights[vertex, parent] += 1.0 - share
    first = np.arange(1538) % 776
    arrays = {
        "hands_components": rng.normal(0.0, 0.2, (45, 45)),
        "f": np.stack([first, first + 1, first + 2], axis=1).astype(np.uint32),
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, *JOINT_PARENTS[1:]], range(16)], np.int64),
        "J": joints,
        "hands_coeffs": rng.normal(0.0, 1.0, (1554, 45)),
        "weights": weights,
        "posedirs": rng.normal(0.0, 0.0005, (778, 3, 135)),
        "hands_mean": rng.normal(0.0, 0.3, 45),
        "v_template": vertices,
        "shapedirs": rng.normal(0.0, 0.002, (778, 3, 10)),
    }
    return arrays if side is Side.RIGHT else _mirrored(arrays)


def write_mano_like(
    path: Path, side: Side = Side.RIGHT, *, seed: int = 0, left_sign_error: bool = False
) -> dict[str, np.ndarray]:
    """Write the made-up hand to `path` and return its true arrays.

    `left_sign_error` gives the file, not the returned arrays, the fault of the released left hand.
    """
    arrays = made_up_arrays(side, seed)
    content: dict[str, object] = dict(arrays)
    shapedirs = arrays["shapedirs"].copy()
    if left_sign_error:
        shapedirs[:, 0] *= -1.0
    content["shapedirs"] = as_chumpy_select(shapedirs)
    content["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    content["bs_style"], content["bs_type"] = "lbs", "lrotmin"
    path.write_bytes(python2_pickle(content))
    return arrays


def as_chumpy_select(values: np.ndarray) -> Select:
    """As MANO has it: the first 10 of 20 columns, picked from the flattened array."""
    padded = np.concatenate([values, np.full_like(values, 7.0)], axis=2)
    idxs = np.arange(padded.size).reshape(padded.shape)[:, :, : values.shape[2]]
    return Select(
        a=Ch(x=padded, **_bookkeeping("x")),
        idxs=idxs.reshape(-1),
        preferred_shape=values.shape,
        **_bookkeeping("a", "idxs", "preferred_shape"),
    )


def _skeleton() -> tuple[np.ndarray, np.ndarray]:
    joints, tips = np.zeros((16, 3)), np.zeros((5, 3))
    joints[0] = _WRIST
    for i, finger in enumerate(FINGERS):
        direction, base, lengths = _FINGER[finger]
        unit = np.array(direction) / np.linalg.norm(direction)
        chain = np.array(base) + np.concatenate([[0.0], np.cumsum(lengths)])[:, None] * unit
        joints[list(FINGER_JOINTS[finger])], tips[i] = chain[:3], chain[3]
    return joints, tips


def _mirrored(right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Written out entry by entry, as the obvious reference of HandModel.mirrored."""
    left = {key: value.copy() for key, value in right.items()}
    left["v_template"][:, 0] *= -1.0
    left["J"][:, 0] *= -1.0
    left["shapedirs"][:, 0] *= -1.0
    left["f"] = right["f"][:, ::-1].copy()
    for joint in range(15):
        for axis in (1, 2):
            left["hands_mean"][3 * joint + axis] *= -1.0
            left["hands_components"][:, 3 * joint + axis] *= -1.0
        for row in range(3):
            for column in range(3):
                entry = 9 * joint + 3 * row + column
                if (row == 0) != (column == 0):  # mirroring turns the sign of R[row, column]
                    left["posedirs"][:, :, entry] *= -1.0
    left["posedirs"][:, 0] *= -1.0
    return left


class _Chumpy:
    """Stands in for a chumpy class while writing; its attributes are its pickled state."""

    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


class Ch(_Chumpy):
    """Written as chumpy.ch.Ch."""


class Select(_Chumpy):
    """Written as chumpy.reordering.Select."""


def _bookkeeping(*names: str) -> dict[str, object]:
    return {
        "_dirty_vars": set(names),
        "_itr": None,
        "_depends_on_deps": {},
        "_make_dense": False,
        "_make_sparse": False,
    }


class Name:
    """A name that the stream asks for, whatever is installed here."""

    def __init__(self, module: str, name: str) -> None:
        self.opcode = b"c" + f"{module}\n{name}\n".encode()


_RECONSTRUCT = Name("numpy.core.multiarray", "_reconstruct")
_NDARRAY, _DTYPE, _SET = (
    Name("numpy", "ndarray"),
    Name("numpy", "dtype"),
    Name("__builtin__", "set"),
)
_CLASSES = {
    Ch: Name("chumpy.ch", "Ch"),
    Select: Name("chumpy.reordering", "Select"),
    scipy.sparse.csc_matrix: Name("scipy.sparse.csc", "csc_matrix"),
}


def python2_pickle(content: object) -> bytes:
    """Pickle plain data, arrays, chumpy stand-ins and csc matrices as Python 2 did."""
    out: list[bytes] = [b"\x80\x02"]
    _Python2Writer(out).save(content)
    return b"".join([*out, b"."])


class _Python2Writer:
    def __init__(self, out: list[bytes]) -> None:
        self._out = out
        self._memo: dict[int, tuple[int, object]] = {}

    def save(self, item: object) -> None:
        """Append the opcodes of one object."""
        if id(item) in self._memo:
            self._out.append(b"j" + struct.pack("<I", self._memo[id(item)][0]))
            return
        match item:
            case None | True | False:
                self._out.append({None: b"N", True: b"\x88", False: b"\x89"}[item])
            case int():
                self._out.append(b"J" + struct.pack("<i", item))
            case str() | bytes():
                self._string(item.encode("latin-1") if isinstance(item, str) else item)
                self._remember(item)
            case tuple():
                self._out.append(b"(")
                for part in item:
                    self.save(part)
                self._out.append(b"t")
            case list():
                self._out.append(b"](")
                for part in item:
                    self.save(part)
                self._out.append(b"e")
            case dict():
                self._out.append(b"}")
                self._remember(item)
                self._out.append(b"(")
                for key, value in item.items():
                    self.save(key)
                    self.save(value)
                self._out.append(b"u")
            case Name():
                self._out.append(item.opcode)
                self._remember(item)
            case set():
                self._reduce(item, _SET, (sorted(item),))
            case np.dtype():
                order = "|" if item.itemsize == 1 else "<"
                self._reduce(item, _DTYPE, (item.str[1:], 0, 1))
                self._build((3, order, None, None, None, -1, -1, 0))
            case np.ndarray():
                self._reduce(item, _RECONSTRUCT, (_NDARRAY, (0,), "b"))
                fortran = item.flags.f_contiguous and not item.flags.c_contiguous
                data = item.tobytes("F" if fortran else "C")
                self._build((1, item.shape, item.dtype, fortran, data))
            case scipy.sparse.csc_matrix():
                fields = ("data", "indices", "indptr")
                state = {"format": "csc", "maxprint": 50, "_shape": item.shape}
                self._object(item, {**state, **{name: getattr(item, name) for name in fields}})
            case _Chumpy():
                self._object(item, dict(vars(item)))
            case _:
                raise TypeError(f"no Python 2 form for {type(item).__name__}")

    def _string(self, data: bytes) -> None:
        short = len(data) < 256
        head = b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))
        self._out.append(head + data)

    def _reduce(self, item: object, function: Name, args: tuple) -> None:
        self.save(function)
        self.save(args)
        self._out.append(b"R")
        self._remember(item)

    def _object(self, item: object, state: dict[str, object]) -> None:
        self.save(_CLASSES[type(item)])
        self._out.append(b")\x81")
        self._remember(item)
        self._build(state)

    def _build(self, state: object) -> None:
        self.save(state)
        self._out.append(b"b")

    def _remember(self, item: object) -> None:
        number = len(self._memo)
        self._memo[id(item)] = (number, item)  # holds the item, so that its id stays its own
        self._out.append(b"r" + struct.pack("<I", number))
