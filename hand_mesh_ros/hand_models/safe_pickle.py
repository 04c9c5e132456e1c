"""Reads pickles of plain data (MANO, dataset labels) as data: nothing is ever called.

`pickle` calls whatever a file names. This reader walks the opcodes itself, with a stack of plain
values, and knows how to read a dozen names (numpy arrays, scipy sparse matrices, chumpy's two ways
to hold an array). None of them is imported or instantiated; any other name is refused.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

MAX_FILE_BYTES = 1 << 25  # MANO has 4 MB
MAX_ARRAY_BYTES = 1 << 28  # all arrays together

# "module name" as the pickle writes it -> how it is read. chumpy's Ch is a leaf, its Select picks
# from a flattened Ch; `set` holds chumpy's bookkeeping; Python 3 writes bytes with `encode`.
_GLOBALS = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "numpy.core.multiarray scalar": "scalar",
    "numpy._core.multiarray scalar": "scalar",
    "scipy.sparse.csc csc_matrix": "csc",
    "scipy.sparse._csc csc_matrix": "csc",
    "scipy.sparse.csr csr_matrix": "csr",
    "scipy.sparse._csr csr_matrix": "csr",
    "chumpy.ch Ch": "chumpy",
    "chumpy.reordering Select": "chumpy_select",
    "__builtin__ set": "set",
    "builtins set": "set",
    "_codecs encode": "encode",
}
_NUMERIC_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")


class PickleReadError(ValueError):
    """The file is damaged or no pickle at all."""


class UnsafePickleError(PickleReadError):
    """The file wants something that no hand model needs; nothing of it was executed."""


@dataclass(frozen=True, slots=True)
class _Global:
    """A name on the allow-list."""

    name: str
    kind: str


@dataclass(slots=True, eq=False)
class _Object:
    """Something that the pickle makes; its value is known once its state has been read."""

    kind: str
    value: Any = None


def load_plain_pickle(path: Path | str) -> dict[str, Any]:
    """Read the top-level dictionary of a pickle (protocol 2 to 4, also Python 2's).

    Sparse matrices come out dense, chumpy arrays as their values. Entries that are neither number,
    string nor array are left out.

    Raises:
        OSError: the file cannot be read.
        UnsafePickleError: it names something outside the allow-list, or is built to exhaust memory.
        PickleReadError: it is damaged or no pickle.
    """
    top = _read_top(Path(path), MAX_FILE_BYTES)
    if not isinstance(top, dict):
        raise PickleReadError(f"{path}: holds a {type(top).__name__}, expected a dictionary.")
    plain = {key: _value_of(value) for key, value in top.items() if isinstance(key, str)}
    kept = (np.ndarray, np.generic, str, bytes, int, float)
    return {key: value for key, value in plain.items() if isinstance(value, kept)}


def load_plain_data(path: Path | str, *, max_file_bytes: int = MAX_FILE_BYTES) -> Any:
    """Read a pickle of nested plain data as a whole: dictionaries, lists, None and all.

    Raises:
        OSError: the file cannot be read.
        UnsafePickleError: as `load_plain_pickle`.
        PickleReadError: it is damaged or no pickle.
    """
    top = _read_top(Path(path), max_file_bytes)
    try:
        return _plain(top, {})
    except RecursionError:
        raise UnsafePickleError(f"{path}: nested too deeply for any label file.") from None


def _read_top(path: Path, max_file_bytes: int) -> Any:
    if path.stat().st_size > max_file_bytes:
        raise UnsafePickleError(
            f"{path}: larger than {max_file_bytes >> 20} MB, no file of its kind is."
        )
    data = path.read_bytes()
    if not data:
        raise PickleReadError(f"{path}: the file is empty; download it again.")
    if data[:1] != b"\x80" or data[1:2] not in (b"\x02", b"\x03", b"\x04"):
        raise PickleReadError(
            f"{path}: not a pickle of protocol 2 to 4 (it starts with {data[:8]!r}); "
            "download it again."
        )
    try:
        return _Reader().read(data)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}; refused, nothing of it was executed.") from None
    except Exception as error:  # a damaged stream trips anything: short reads, types, empty stack
        reason = " ".join(str(error).split())[:200]
        raise PickleReadError(f"{path}: damaged pickle ({reason}); download it again.") from error


class _Reader:
    """A stack machine over `pickletools.genops`, which parses without executing."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._bytes_left = MAX_ARRAY_BYTES

    def read(self, data: bytes) -> Any:
        """Return the object that the pickle describes."""
        for opcode, arg, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _LITERALS:
                self._stack.append(arg)
            elif opcode.name in _OPCODES:
                _OPCODES[opcode.name](self, arg)
            else:  # persistent ids, extension codes, out-of-band buffers, INST, OBJ, protocol 0
                raise UnsafePickleError(f"uses pickle opcode {opcode.name}, no hand model does")
        raise ValueError("it ends before its STOP")

    # Stack

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise ValueError("stack underflow")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    # Containers

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _short_tuple(self, count: int) -> None:
        self._stack.append(tuple(self._pop(count)))

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise UnsafePickleError("adds items to something that is no list")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target, keys = self._stack[-1], items[::2]
        if type(target) is not dict or len(items) % 2:
            raise UnsafePickleError("sets items of something that is no dictionary")
        if not all(isinstance(key, (str, int)) for key in keys):
            raise UnsafePickleError("has a dictionary key that is neither string nor number")
        target.update(zip(keys, items[1::2], strict=True))

    # Names and objects

    def _global(self, name: str) -> None:
        if name not in _GLOBALS:
            shown = name.replace(" ", ".", 1)[:100]
            raise UnsafePickleError(f"asks for {shown!r}, which no hand model needs")
        self._stack.append(_Global(name.replace(" ", "."), _GLOBALS[name]))

    def _stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise UnsafePickleError("asks for a name that is no string")
        self._global(f"{module} {name}")

    def _call(self, _: Any) -> None:
        function, args = self._pop(2)
        if not isinstance(function, _Global) or not isinstance(args, tuple):
            raise UnsafePickleError("calls something that is not a name of the allow-list")
        match function.kind, args:
            case "array", (_Global(kind="ndarray"), *_):
                self._stack.append(_Object("array"))
            case "dtype", (str(code), *_):
                self._stack.append(_Object("dtype", _numeric_dtype(code)))
            case "scalar", (_Object(kind="dtype", value=dtype), data):
                self._stack.append(self._array((), dtype, data)[()])
            case "encode", (str(text), "latin1" | "latin-1"):
                self._stack.append(text.encode("latin-1"))
            case "set", _:
                self._stack.append(_Object("set"))
            case _:
                raise UnsafePickleError(f"calls {function.name} with unexpected arguments")

    def _new(self, _: Any) -> None:
        cls, args = self._pop(2)
        known = ("csc", "csr", "chumpy", "chumpy_select")
        if not isinstance(cls, _Global) or cls.kind not in known or args != ():
            name = cls.name if isinstance(cls, _Global) else type(cls).__name__
            raise UnsafePickleError(f"makes a {name} in a way that no hand model does")
        self._stack.append(_Object(cls.kind))

    def _build(self, _: Any) -> None:
        (state,) = self._pop(1)
        made = self._stack[-1]
        match made, state:
            case _Object(kind="dtype"), (_, "<" | ">" | "|" | "=" as order, *_):
                made.value = made.value.newbyteorder(order)
            case _Object(kind="array"), (int(), shape, _Object(kind="dtype") as dtype, order, data):
                made.value = self._array(shape, dtype.value, data, "F" if order else "C")
            case _Object(kind="chumpy"), {"x": x}:
                made.value = _array_of(x)
            case _Object(kind="chumpy_select"), {"a": a, "idxs": idxs}:
                idxs = _array_of(idxs)
                self._spend(idxs.size * 8)
                shape = state.get("preferred_shape", (-1,))
                made.value = _array_of(a).reshape(-1)[idxs].reshape(shape)
            case _Object(kind="csc" | "csr"), {"_shape": (int(rows), int(columns))}:
                made.value = self._dense(state, made.kind, rows, columns)
            case _:
                kind = made.kind if isinstance(made, _Object | _Global) else type(made).__name__
                raise UnsafePickleError(f"sets a state on a {kind} as no hand model does")

    # Arrays

    def _spend(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise UnsafePickleError(f"unpacks to more than {MAX_ARRAY_BYTES >> 20} MB of arrays")

    def _array(
        self, shape: Any, dtype: np.dtype, data: Any, order: Literal["C", "F"] = "C"
    ) -> np.ndarray:
        if isinstance(data, str):
            data = data.encode("latin-1")  # Python 2 wrote bytes as its str
        if not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise UnsafePickleError("has an array whose content is not plain bytes")
        sizes_are_sane = all(isinstance(size, int) and 0 <= size < 1 << 40 for size in shape)
        if len(shape) > 8 or not sizes_are_sane:
            raise ValueError("array of impossible shape")
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"array of {len(data)} bytes, its shape {shape} does not fit")
        self._spend(len(data))
        values = np.frombuffer(data, dtype).reshape(shape, order=order)
        return values.astype(dtype.newbyteorder("="))

    def _dense(self, state: dict[str, Any], kind: str, rows: int, columns: int) -> np.ndarray:
        majors, minors = (columns, rows) if kind == "csc" else (rows, columns)
        values, minor, starts = (_array_of(state.get(key)) for key in ("data", "indices", "indptr"))
        self._spend(max(rows, 0) * max(columns, 0) * 8)
        counts = np.diff(starts)
        fits = starts[0] == 0 and starts[-1] == len(minor) == len(values) and counts.min() >= 0
        if len(counts) != majors or not fits or np.any((minor < 0) | (minor >= minors)):
            raise ValueError("sparse matrix whose indices do not fit its shape")
        dense = np.zeros((majors, minors))
        np.add.at(dense, (np.repeat(np.arange(majors), counts), minor), values)
        return dense.T.copy() if kind == "csc" else dense


def _value_of(item: Any) -> Any:
    return item.value if isinstance(item, _Object) else item


def _plain(item: Any, seen: dict[int, Any]) -> Any:
    """The item with values in place of objects; names and sets, which hold no data, become None.

    `seen` keeps what is shared shared: a small file may name one list a billion times over.
    """
    if id(item) in seen:
        return seen[id(item)]
    if isinstance(item, dict):
        seen[id(item)] = result = {}
        result.update((key, _plain(value, seen)) for key, value in item.items())
        return result
    if isinstance(item, list):
        seen[id(item)] = result = []
        result.extend(_plain(value, seen) for value in item)
        return result
    if isinstance(item, tuple):
        seen[id(item)] = result = tuple(_plain(value, seen) for value in item)
        return result
    value = _value_of(item)
    return None if isinstance(value, (_Global, np.dtype)) else value


def _array_of(item: Any) -> np.ndarray:
    value = _value_of(item)
    if not isinstance(value, np.ndarray):
        raise UnsafePickleError("has something else where an array of numbers belongs")
    return value


def _numeric_dtype(code: str) -> np.dtype:
    if not _NUMERIC_DTYPE.fullmatch(code):
        raise UnsafePickleError(
            f"has numpy data of type {code[:20]!r}, only plain numbers are read"
        )
    return np.dtype(code)


_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "INT", "LONG1", "LONG4", "BINFLOAT", "BINBYTES"}
    | {"BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES"}
)
_OPCODES: dict[str, Callable[[_Reader, Any], None]] = {
    "PROTO": lambda r, _: None,
    "FRAME": lambda r, _: None,
    "NONE": lambda r, _: r._stack.append(None),
    "NEWTRUE": lambda r, _: r._stack.append(True),
    "NEWFALSE": lambda r, _: r._stack.append(False),
    "EMPTY_TUPLE": lambda r, _: r._stack.append(()),
    "EMPTY_LIST": lambda r, _: r._stack.append([]),
    "EMPTY_DICT": lambda r, _: r._stack.append({}),
    "MARK": _Reader._mark,
    "TUPLE": _Reader._tuple,
    "TUPLE1": lambda r, _: r._short_tuple(1),
    "TUPLE2": lambda r, _: r._short_tuple(2),
    "TUPLE3": lambda r, _: r._short_tuple(3),
    "APPEND": lambda r, _: r._extend(r._pop(1)),
    "APPENDS": lambda r, _: r._extend(r._pop_to_mark()),
    "SETITEM": lambda r, _: r._set_items(r._pop(2)),
    "SETITEMS": lambda r, _: r._set_items(r._pop_to_mark()),
    "BINPUT": _Reader._put,
    "LONG_BINPUT": _Reader._put,
    "MEMOIZE": _Reader._memoize,
    "BINGET": _Reader._get,
    "LONG_BINGET": _Reader._get,
    "GLOBAL": _Reader._global,
    "STACK_GLOBAL": _Reader._stack_global,
    "REDUCE": _Reader._call,
    "NEWOBJ": _Reader._new,
    "BUILD": _Reader._build,
}
