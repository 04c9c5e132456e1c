"""The reader gives what pickle gives for a MANO-type file, and refuses everything else."""

import collections
import copyreg
import functools
import os
import pickle
import struct
import sys
import types
import warnings

import numpy as np
import pytest
import scipy.sparse
from mano_like import Ch, Select, as_chumpy_select, python2_pickle, write_mano_like

from hand_mesh_ros.hand_models.safe_pickle import (
    PickleReadError,
    UnsafePickleError,
    load_plain_pickle,
)


@pytest.fixture
def read(tmp_path):
    def read_bytes(data):
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return load_plain_pickle(path)

    return read_bytes


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def stream(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


# What must be read


def test_mano_like_file_reads_exactly(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    truth = write_mano_like(path)
    got = load_plain_pickle(path)
    assert set(got) == {*truth, "bs_style", "bs_type"}
    for key, value in truth.items():
        assert got[key].dtype == value.dtype, key
        np.testing.assert_array_equal(got[key], value, err_msg=key)
    assert (got["bs_style"], got["bs_type"]) == ("lbs", "lrotmin")
    assert got["kintree_table"][0, 0] == 2**32 - 1


def test_mano_like_file_is_what_pickle_itself_reads(tmp_path, monkeypatch):
    """The made-up file is a real pickle: with stand-ins for chumpy, the stock reader agrees."""
    path = tmp_path / "MANO_RIGHT.pkl"
    truth = write_mano_like(path)
    for name, content in {
        "chumpy": {},
        "chumpy.ch": {"Ch": Ch},
        "chumpy.reordering": {"Select": Select},
        "scipy.sparse.csc": {"csc_matrix": scipy.sparse.csc_matrix},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core is an old name
        stock = pickle.load(file, encoding="latin1")
    np.testing.assert_array_equal(stock["J_regressor"].toarray(), truth["J_regressor"])
    select = vars(stock["shapedirs"])
    shapedirs = vars(select["a"])["x"].ravel()[select["idxs"]].reshape(select["preferred_shape"])
    np.testing.assert_array_equal(shapedirs, truth["shapedirs"])
    np.testing.assert_array_equal(stock["posedirs"], truth["posedirs"])


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("make_sparse", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix])
def test_chumpy_free_copies_written_by_python_3(read, protocol, make_sparse):
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(4, 6)) * (rng.uniform(size=(4, 6)) < 0.4)
    content = {
        "sparse": make_sparse(dense),
        "fortran": np.asfortranarray(rng.normal(size=(3, 5))),
        "big_endian": np.arange(4, dtype=">i4"),
        "float32": np.array([1.5, -2.0], np.float32),
        "bool": np.array([True, False]),
        "scalar": np.float64(2.25),
        "text": "left",
        "number": 12345678901234567890,
    }
    got = read(pickle.dumps(content, protocol))
    np.testing.assert_array_equal(got["sparse"], dense)
    for key in ("fortran", "big_endian", "float32", "bool"):
        np.testing.assert_array_equal(got[key], content[key])
        assert got[key].dtype == content[key].dtype.newbyteorder("=")
        assert got[key].flags.writeable
    assert got["scalar"] == 2.25
    assert got["text"] == "left"
    assert got["number"] == 12345678901234567890


def test_select_is_an_index_into_the_flattened_array(read):
    values = np.arange(24.0).reshape(2, 3, 4)
    got = read(python2_pickle({"plain": Ch(x=values), "picked": as_chumpy_select(values)}))
    np.testing.assert_array_equal(got["plain"], values)
    np.testing.assert_array_equal(got["picked"], values)
    idxs = np.array([5, 0, 5])
    got = read(python2_pickle({"picked": Select(a=Ch(x=values), idxs=idxs)}))
    np.testing.assert_array_equal(got["picked"], [5.0, 0.0, 5.0])


def test_containers_and_bookkeeping_are_left_out(read):
    assert read(pickle.dumps({"a": [1], "b": {"c": 2}, "d": None, "e": {3}, "f": 4}, 2)) == {"f": 4}


# What must be refused


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_payload_that_pickle_would_run_is_not_run(tmp_path, protocol):
    control, victim = tmp_path / "control", tmp_path / "victim"
    pickle.loads(pickle.dumps(Calls(os.mkdir, str(control)), protocol))
    assert control.exists()  # this payload does work on the stock reader
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps({"v_template": Calls(os.mkdir, str(victim))}, protocol))
    with pytest.raises(UnsafePickleError, match=r"hostile\.pkl.*posix\.mkdir"):
        load_plain_pickle(path)
    path.write_bytes(pickle.dumps({"f": Calls(os.system, f"touch {victim}")}, protocol))
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        load_plain_pickle(path)
    assert not victim.exists()


HOSTILE_CALLS = {
    "eval": Calls(eval, "1"),
    "__import__": Calls(__import__, "antigravity"),
    "getattr": Calls(getattr, "a", "upper"),
    "partial": functools.partial(print, "x"),
    "load": Calls(np.load, "x.npy"),
    "ctypeslib": Calls(np.ctypeslib.load_library, "x", "/"),
    "_reconstructor": Calls(vars(copyreg)["_reconstructor"], int, object, None),
    "OrderedDict": collections.OrderedDict(a=1),
    "bytearray": Calls(bytearray, 1 << 40),
    "load_npz": Calls(scipy.sparse.load_npz, "x.npz"),
    "coo_matrix": scipy.sparse.coo_matrix(np.eye(2)),
    "object": object(),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HOSTILE_CALLS)
def test_names_off_the_list_are_refused_by_name(read, name, protocol):
    with pytest.raises(UnsafePickleError, match=name):
        read(pickle.dumps({"f": HOSTILE_CALLS[name]}, protocol))


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "numpy.f2py.diagnose\nrun",
        "numpy.testing._private.utils\nrunstring",
        "numpy\nndarray.tofile",
        "numpy dtype\nx",
        "chumpy.ch\nChLambda",
        "scipy.sparse.csc\ncsc_matrix.dot",
        "__builtin__\neval",
    ],
)
def test_global_opcode_needs_the_exact_name(read, name):
    with pytest.raises(UnsafePickleError, match="asks for"):
        read(stream(b"}" + text("f") + b"c" + name.encode() + b"\ns"))


@pytest.mark.parametrize(
    ("module", "name"),
    [("numpy", "ndarray.__setstate__"), ("numpy.dtype", "type"), ("numpy ndarray", "x")],
)
def test_dotted_names_of_protocol_4_are_refused(read, module, name):
    with pytest.raises(UnsafePickleError, match="asks for"):
        read(stream(text(module) + text(name) + b"\x93", protocol=4))


NDARRAY = b"cnumpy\nndarray\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n"
CH = b"cchumpy.ch\nCh\n"


@pytest.mark.parametrize(
    "body",
    [
        CH + text("arg") + b"\x85R",  # a stub called
        CH + b"(" + text("arg") + b"t\x81",  # a stub made with arguments
        RECONSTRUCT + CH + b"K\x00\x85" + text("b") + b"\x87R",  # an array of another class
        RECONSTRUCT + b")R",
        DTYPE + DTYPE + b"\x85R",
        DTYPE + text("f8,O") + b"\x85R",
        text("f") + b")R",  # a string called
        b"})\x81",  # a dictionary instantiated
        NDARRAY + b")\x81",  # a bare array instantiated
        CH + b")\x81" + text("state") + b"b",  # a state that is no dictionary
        CH + b")\x81}" + text("x") + CH + b"sb",  # whose value is a class
        CH + b"}" + text("__setstate__") + text("x") + b"sb",  # the class itself given a state
        b"]}" + text("__class__") + CH + b"sb",  # a list given a state
        CH + b")\x81N}" + text("x") + b"K\x01s\x86b",  # slot state
        CH + b")\x81(K\x01e",  # a stub extended
        CH + b")\x81" + text("x") + b"K\x01s",  # a stub given an item
        b"}))s",  # a key that is hashed for long
        b"c_codecs\nencode\n" + text("a") + text("zip") + b"\x86R",  # another codec
    ],
)
def test_allowed_names_used_in_other_ways_are_refused(read, body):
    with pytest.raises(UnsafePickleError):
        read(stream(b"}" + text("f") + body + b"s"))


@pytest.mark.parametrize(
    ("body", "opcode"),
    [
        (text("id") + b"Q", "BINPERSID"),
        (b"Pid\n", "PERSID"),
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"(ios\nsystem\n", "INST"),
        (b"(cnumpy\nndarray\no", "OBJ"),
        (b"\x96" + struct.pack("<Q", 2) + b"ab", "BYTEARRAY8"),
        (b"\x97", "NEXT_BUFFER"),
        (b"S'text'\n", "STRING"),
    ],
)
def test_opcodes_off_the_list_are_refused(read, body, opcode):
    with pytest.raises(UnsafePickleError, match=opcode):
        read(stream(body, protocol=4))


def test_extension_codes_do_not_bypass_the_list(read):
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(UnsafePickleError, match="EXT1"):
            read(stream(b"\x82\xf0"))
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_object_and_text_arrays_are_refused(read):
    for array in (np.array([None, "a"], object), np.array(["a"]), np.zeros(2, "f8,O")):
        with pytest.raises(UnsafePickleError, match="only plain numbers"):
            read(pickle.dumps({"f": array}, 2))


# Bombs


def test_memo_index_does_not_set_memory_aside(read):
    assert read(stream(b"}r\xff\xff\xff\x7f")) == {}


def test_lengths_beyond_the_file_are_damage(read):
    for opcode in (b"T\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"B\xff\xff\xff\xff"):
        with pytest.raises(PickleReadError, match="damaged"):
            read(b"\x80\x03" + opcode + b"abc")


def test_file_far_larger_than_any_hand_is_refused_unread(tmp_path):
    path = tmp_path / "file.pkl"
    with path.open("wb") as file:
        file.truncate(1 << 34)  # sparse on disk
    with pytest.raises(UnsafePickleError, match="larger than"):
        load_plain_pickle(path)


def test_arrays_that_multiply_are_refused(read):
    """A small file may not unpack to gigabytes by picking the same array again and again."""
    a = Ch(x=np.zeros(1))
    idxs = np.zeros(1 << 18, np.int64)
    content = {str(i): Select(a=a, idxs=idxs) for i in range(200)}
    with pytest.raises(UnsafePickleError, match="unpacks to more than"):
        read(python2_pickle(content))
    wide = scipy.sparse.csc_matrix((1 << 20, 1 << 10))
    with pytest.raises(UnsafePickleError, match="unpacks to more than"):
        read(python2_pickle({"J": wide}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("indptr", [0, 1, 1 << 40]), ("indptr", [0, 2, 1]), ("indices", [0, 9]), ("indices", [-1, 0])],
)
def test_sparse_indices_out_of_range_are_damage(read, field, value):
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    setattr(matrix, field, np.array(value, np.int64))
    with pytest.raises(PickleReadError, match="do not fit"):
        read(python2_pickle({"J": matrix}))


# Damage


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "not a pickle"),
        (b"\x80\x05}.", "not a pickle of protocol 2 to 4"),
        (b"(dp0\n.", "not a pickle"),
        (bytes(range(256)), "not a pickle"),
        (b"\x80\x02\xff\xff\xff.", "damaged"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02}", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02e.", "damaged"),
        (b"\x80\x02(K\x01\x86.", "damaged"),
        (b"\x80\x02].", "expected a dictionary"),
    ],
)
def test_damaged_files_give_one_clear_line(read, data, says):
    with pytest.raises(PickleReadError, match=says) as caught:
        read(data)
    assert "file.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_anywhere_gives_one_clear_line(tmp_path, read):
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano_like(path)
    data = path.read_bytes()
    for end in (1, 2, 3, 50, 1000, len(data) // 2, len(data) - 1):
        with pytest.raises(PickleReadError) as caught:
            read(data[:end])
        assert not isinstance(caught.value, UnsafePickleError)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_give_anything_but_a_clear_error(read):
    clean = python2_pickle({"a": np.arange(3.0), "b": as_chumpy_select(np.ones((1, 1, 2)))})
    rng = np.random.default_rng(3)
    outcomes, messages = set(), []
    for _ in range(400):
        data = bytearray(clean)
        for at in rng.integers(2, len(data), 3):
            data[at] = rng.integers(256)
        try:
            read(bytes(data))
            outcomes.add("read")
        except PickleReadError as error:
            outcomes.add(type(error).__name__)
            messages.append(str(error))
    assert outcomes == {"read", "PickleReadError", "UnsafePickleError"}
    assert not any("\n" in message for message in messages)


def test_an_array_whose_bytes_do_not_fit_its_shape_is_damage(read):
    data = pickle.dumps({"a": np.arange(4.0)}, 4)
    at = data.index(b"K\x04\x85")  # the shape (4,)
    with pytest.raises(PickleReadError, match="32 bytes"):
        read(data[:at] + b"K\x05\x85" + data[at + 3 :])


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_plain_pickle(tmp_path / "none.pkl")
