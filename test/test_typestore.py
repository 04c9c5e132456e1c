import numpy as np
import pytest

from hand_mesh_ros.ros.typestore import DISTROS, Typestore, TypestoreError, message_folder

STORE = Typestore("jazzy")


def header(seconds=12, frame_id="camera"):
    time = STORE.type("builtin_interfaces/msg/Time")(sec=seconds, nanosec=345)
    return STORE.type("std_msgs/msg/Header")(stamp=time, frame_id=frame_id)


def test_cdr_of_a_header_is_the_one_of_the_standard():
    expected = (
        b"\x00\x01\x00\x00"  # plain CDR, little endian
        b"\x0c\x00\x00\x00" + (345).to_bytes(4, "little") + b"\x07\x00\x00\x00camera\x00"
    )

    assert STORE.encode(header(), "std_msgs/msg/Header") == expected
    assert STORE.encode(header()) == expected


def test_decoding_gives_the_numbers_back_and_does_not_copy_arrays():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8)
    image = STORE.type("sensor_msgs/msg/Image")(
        header=header(), height=2, width=3, encoding="rgb8", is_bigendian=0, step=9, data=pixels
    )
    cdr = STORE.encode(image)

    decoded = STORE.decode(memoryview(cdr), "sensor_msgs/msg/Image")

    assert (decoded.height, decoded.width, decoded.step) == (2, 3, 9)
    assert (decoded.header.stamp.sec, decoded.header.frame_id) == (12, "camera")
    np.testing.assert_array_equal(decoded.data, pixels)
    assert np.shares_memory(decoded.data, np.frombuffer(cdr, np.uint8))


def test_padding_after_the_message_is_no_error():
    string = STORE.type("std_msgs/msg/String")("ab")
    cdr = STORE.encode(string)
    assert len(cdr) % 4 == 3

    assert STORE.decode(cdr + b"\0", "std_msgs/msg/String").data == "ab"


# Published in ROS 2's own packages (share/std_msgs/msg/*.json of Jazzy).
@pytest.mark.parametrize(
    ("type_name", "type_hash"),
    [
        (
            "std_msgs/msg/String",
            "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
        ),
        (
            "builtin_interfaces/msg/Time",
            "RIHS01_b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197",
        ),
    ],
)
def test_type_hashes_are_those_of_ros(type_name, type_hash):
    assert STORE.type_hash(type_name) == type_hash


@pytest.mark.parametrize("distro", DISTROS)
def test_every_distribution_knows_our_messages_and_the_standard_ones(distro):
    store = Typestore(distro)

    names = [name for name, _ in store.fields("hand_mesh_ros/msg/HandMesh")]
    assert names[:3] == ["header", "side", "side_score"]
    assert names[-2:] == ["model", "hand_model"]
    assert store.type("tf2_msgs/msg/TFMessage")
    assert store.type("visualization_msgs/msg/MarkerArray")
    gid_size = {name: kind for name, kind in store.fields("rmw_dds_common/msg/Gid")}["data"][1][1]
    assert gid_size == (24 if distro == "humble" else 16)
    assert store.has_type_hashes == (distro != "humble")


def test_all_message_files_are_found():
    assert {path.stem for path in message_folder().glob("*.msg")} >= {
        "HandMesh",
        "HandMeshArray",
        "HandTopology",
    }


def test_wrong_names_and_bytes_are_refused_in_one_line():
    with pytest.raises(TypestoreError, match=r"'dapper' is not known, expected one of .*jazzy"):
        Typestore("dapper")
    with pytest.raises(TypestoreError, match=r"'sensor_msgs/Image' is not known in jazzy"):
        STORE.type("sensor_msgs/Image")
    with pytest.raises(TypestoreError, match=r"6 bytes are no std_msgs/msg/String"):
        STORE.decode(b"\0\1\0\0\3\0", "std_msgs/msg/String")
    with pytest.raises(TypestoreError, match=r"cannot encode a std_msgs/msg/UInt8"):
        STORE.encode(STORE.type("std_msgs/msg/UInt8")(data=300), "std_msgs/msg/UInt8")
