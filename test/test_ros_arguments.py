import logging

import pytest

from hand_mesh_ros.ros.arguments import parse_ros_arguments
from hand_mesh_ros.ros.names import ArgumentError


def parsed(line, node_name="hand_mesh", namespace=""):
    return parse_ros_arguments(line.split(), node_name, namespace)


def parameter_file(tmp_path, text, name="parameters.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def parameters_of(tmp_path, text, line="", namespace=""):
    path = parameter_file(tmp_path, text)
    return parsed(f"--ros-args --params-file {path} {line}", namespace=namespace).parameters


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("", "image", "/image"),
        ("/", "image", "/image"),
        ("robot", "image", "/robot/image"),
        ("/robot/arm", "image/raw", "/robot/arm/image/raw"),
        ("/robot", "/tf", "/tf"),
        ("/robot", "~", "/robot/hand_mesh"),
        ("/robot", "~/debug", "/robot/hand_mesh/debug"),
        ("", "~/debug", "/hand_mesh/debug"),
        ("/robot", "{ns}/x", "/robot/x"),
        ("/robot", "/{node}/x", "/hand_mesh/x"),
    ],
)
def test_names_are_expanded(namespace, name, expected):
    assert parsed("", namespace=namespace).resolve(name) == expected


@pytest.mark.parametrize("name", ["", "/", "a//b", "a/", "1a", "a/2b", "a-b", "~x", "a b", "{n}"])
def test_wrong_names_are_refused(name):
    with pytest.raises(ArgumentError, match="is no ROS name"):
        parsed("").resolve(name)


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("image:=/camera/image_raw", "image", "/camera/image_raw"),
        ("image:=camera/image", "image", "/robot/camera/image"),
        ("/robot/image:=/x", "image", "/x"),
        ("/image:=/x", "image", "/robot/image"),  # another topic
        ("image:=/x", "/image", "/image"),  # the same
        ("image:=/x", "image/raw", "/robot/image/raw"),  # whole names only
        ("~/debug:=/x", "~/debug", "/x"),
        ("rostopic://image:=/x", "image", "/x"),
        ("hand_mesh:image:=/x", "image", "/x"),
        ("other:image:=/x", "image", "/robot/image"),
        ("/tf:=tf", "/tf", "/robot/tf"),
    ],
)
def test_topics_are_remapped(rule, name, expected):
    assert parsed(f"--ros-args -r {rule}", namespace="/robot").resolve(name) == expected


def test_the_first_rule_that_fits_counts_and_its_result_is_final():
    arguments = parsed("--ros-args -r a:=b --remap a:=c -r b:=d")

    assert arguments.resolve("a") == "/b"
    assert arguments.resolve("b") == "/d"


def test_name_and_namespace_are_remapped_before_topics():
    arguments = parsed("--ros-args -r ~/x:=y -r __node:=left -r __ns:=/robot", namespace="/old")

    assert arguments.full_name == "/robot/left"
    assert arguments.resolve("~/x") == "/robot/y"
    assert parsed("--ros-args -r other:__node:=left").node_name == "hand_mesh"
    assert parsed("--ros-args -r hand_mesh:__node:=left -r left:a:=b").resolve("a") == "/b"


def test_only_what_stands_between_the_markers_is_for_ros():
    arguments = parsed("demo --fast --ros-args -r a:=b -- -r c:=d --ros-args -p k:=1")

    assert arguments.rest == ("demo", "--fast", "-r", "c:=d")
    assert arguments.resolve("a") == "/b"
    assert arguments.resolve("c") == "/c"
    assert arguments.parameters == {"k": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0x10", 16),
        ("3.0", 3.0),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("true", True),
        ("False", False),
        ("off", False),
        ("landmark_fit", "landmark_fit"),
        ("'3'", "3"),
        ("''", ""),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("[1,2]", [1, 2]),
        ("[1,2.5]", [1.0, 2.5]),
        ("[a,b]", ["a", "b"]),
        ("[]", []),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_values_are_typed_as_ros_types_them(text, value):
    (read,) = parsed(f"--ros-args -p some.name:={text}").parameters.items()

    assert read == ("some.name", value)
    assert type(read[1]) is type(value)
    if isinstance(value, list):
        assert [type(item) for item in read[1]] == [type(item) for item in value]


def test_parameters_may_be_meant_for_one_node():
    line = "--ros-args -p hand_mesh:a:=1 -p other:a:=2 -p /hand_mesh:b:=3 -p /ns/hand_mesh:b:=4"

    assert parsed(line).parameters == {"a": 1, "b": 3}
    assert parsed(line, namespace="/ns").parameters == {"a": 1, "b": 4}


def test_nested_parameters_get_dotted_names(tmp_path):
    text = """
        /**:
          ros__parameters:
            camera: {fov_deg: 60.0, lens: {kind: fisheye}}
            sizes: [1, 2]
    """

    assert parameters_of(tmp_path, text) == {
        "camera.fov_deg": 60.0,
        "camera.lens.kind": "fisheye",
        "sizes": [1, 2],
    }


@pytest.mark.parametrize(
    ("pattern", "namespace", "fits"),
    [
        ("/**", "", True),
        ("/**", "/a/b", True),
        ("hand_mesh", "", True),
        ("/hand_mesh", "", True),
        ("hand_mesh", "/a", False),
        ("/a/hand_mesh", "/a", True),
        ("/a/hand_mesh", "", False),
        ("/*/hand_mesh", "/a", True),
        ("/*/hand_mesh", "/a/b", False),
        ("/*/hand_mesh", "", False),
        ("/**/hand_mesh", "/a/b", True),
        ("/**/hand_mesh", "", True),
        ("/a/**", "/a/b", True),
        ("/b/**", "/a/b", False),
        ("/*", "", True),
        ("hand", "", False),
        ("hand.mesh", "", False),
    ],
)
def test_sections_are_chosen_by_the_nodes_full_name(tmp_path, pattern, namespace, fits):
    text = f'"{pattern}":\n  ros__parameters:\n    k: 1\n'

    assert parameters_of(tmp_path, text, namespace=namespace) == ({"k": 1} if fits else {})


def test_namespaces_may_be_levels_of_the_file(tmp_path):
    text = """
        robot:
          arm:
            hand_mesh: {ros__parameters: {k: 1}}
          hand_mesh: {ros__parameters: {k: 2}}
    """

    assert parameters_of(tmp_path, text, namespace="/robot/arm") == {"k": 1}
    assert parameters_of(tmp_path, text, namespace="/robot") == {"k": 2}


def test_sections_are_for_the_remapped_node(tmp_path):
    text = "left: {ros__parameters: {k: 1}}\nhand_mesh: {ros__parameters: {k: 2}}"

    assert parameters_of(tmp_path, text, "-r __node:=left") == {"k": 1}


def test_later_values_win(tmp_path):
    text = """
        /**: {ros__parameters: {a: 1, b: 1, c: 1, d: 1}}
        hand_mesh: {ros__parameters: {b: 2, c: 2, d: 2}}
    """
    second = parameter_file(tmp_path, "/**: {ros__parameters: {c: 3, d: 3}}", "second.yaml")

    read = parameters_of(tmp_path, text, f"--params-file {second} -p d:=4 -p e:=4")

    assert read == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 4}


def test_a_file_without_a_section_for_the_node_is_reported(tmp_path):
    path = parameter_file(tmp_path, "hand_mash: {ros__parameters: {k: 1}}")

    arguments = parsed(f"--ros-args --params-file {path}", namespace="/ns")

    assert arguments.parameters == {}
    assert arguments.warnings == (
        f"parameter file {path} has nothing for /ns/hand_mesh, only for /hand_mash",
    )


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("", logging.INFO),
        ("--ros-args --log-level debug", logging.DEBUG),
        ("--ros-args --log-level WARN", logging.WARNING),
        ("--ros-args --log-level error --log-level fatal", logging.CRITICAL),
        ("--ros-args --log-level ns.hand_mesh:=error", logging.ERROR),
        ("--ros-args --log-level ns:=error", logging.ERROR),
        ("--ros-args --log-level rcl:=debug", logging.INFO),
    ],
)
def test_log_levels(line, level):
    assert parsed(line, namespace="/ns").log_level == level


def test_flags_without_a_meaning_here_are_taken_as_they_are():
    line = "--ros-args -e /secure --disable-rosout-logs --enable-stdout-logs --log-file-name x"

    assert parsed(line).rest == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-r", "ROS argument -r needs a value, none came"),
        ("-p -- x", "ROS argument -p needs a value"),
        ("-r image", "remap rule 'image' is not FROM:=TO"),
        ("-r image:=", "is not FROM:=TO"),
        ("-r :=image", "is not FROM:=TO"),
        ("-r :a:=b", "is not FROM:=TO"),
        ("-r a:=b-c", "'b-c' is no ROS name"),
        ("-r a-b:=c", "'a-b' is no ROS name"),
        ("-r __node:=a/b", "'a/b' is no node name"),
        ("-r __ns:=/1a", "'/1a' is no namespace"),
        ("image:=/x", "'image:=/x' needs -r (remap) or -p (parameter) before"),
        ("--frobnicate", "ROS argument '--frobnicate' is not known, expected one of -r, -p"),
        ("-p k=1", "parameter 'k=1' is not NAME:=VALUE"),
        ("-p :=1", "is not NAME:=VALUE"),
        ("-p k:=", "parameter k in the command line is None, expected a bool, a number"),
        ("-p k:={a:1}", "parameter k in the command line is {"),
        ("-p k:=[1,a]", "parameter k in the command line is [1, 'a']"),
        ("-p k:=[1", "parameter k: '[1' is not a YAML value"),
        ("-p k:=!!bool&x", "is not a YAML value"),
        ("-p k:=18446744073709551616", "integer of more than 64 bits"),
        ("-p k\x07:=1", "'k\\x07' is no parameter name"),
        ("--log-level loud", "level 'loud' is not one of debug, info, warn, error, fatal"),
        ("--params-file /no/such.yaml", "parameter file /no/such.yaml does not exist"),
        ("--params-file /", "parameter file / cannot be read"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(line, message):
    with pytest.raises(ArgumentError) as caught:
        parsed(f"--ros-args {line}")

    assert isinstance(caught.value, ValueError)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("\tk: 1", "is not valid YAML"),
        ("n: &n {ros__parameters: *n}", "line 1 has the alias *n"),
        ("", "the top holds None, expected node names above ros__parameters"),
        ("[1, 2]", "the top holds [1, 2]"),
        ("hand_mesh: {k: 1}", "/hand_mesh/k holds 1, expected node names above ros__parameters"),
        ("ros__parameters: {k: 1}", "ros__parameters of no node holds {'k': 1}"),
        ("/**: {ros__parameters: 3}", "ros__parameters of /** holds 3"),
        ("/**: {ros__parameters: {a: {b: }}}", "parameter a.b in"),
        ("/**: {ros__parameters: {a: [{b: 1}]}}", "parameter a in"),
        ("{}", "has no ros__parameters"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path, text, message):
    path = parameter_file(tmp_path, text)

    with pytest.raises(ArgumentError) as caught:
        parsed(f"--ros-args --params-file {path}")

    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
