import pytest
import yaml

from hand_mesh_ros.one_line import OneLineError, one_line
from hand_mesh_ros.plain_yaml import MAX_DEPTH, MAX_LETTERS, PlainYamlError, read_yaml


def test_plain_values_come_back():
    values = {"a": [1, 2.5, "x", None, True], "b": {"c": -(2**63), "d": 2**64 - 1}}
    assert read_yaml(yaml.safe_dump(values)) == values
    assert read_yaml("") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x", r"line 2 has the alias \*x"),
        ("&a [*a]", "alias"),
        ("a: " + 300 * "[" + 300 * "]", f"nested deeper than {MAX_DEPTH}"),
        (f"a: {2**64}", "more than 64 bits"),
        (f"a: {-(2**63) - 1}", "more than 64 bits"),
        ("a: 1" + 5000 * "0", "ValueError"),
        ("!!timestamp x", "AttributeError"),
        ("!!bool x", "KeyError"),
        ("!!int ''", "IndexError"),
        ("2001-99-99", "ValueError: month"),
        ("a: [1", "while parsing"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (" " * (MAX_LETTERS + 1), f"has {MAX_LETTERS + 1} letters"),
    ],
)
def test_what_is_refused_is_one_line(text, words):
    with pytest.raises(PlainYamlError, match=words) as error:
        read_yaml(text)
    assert "\n" not in str(error.value)


def test_nesting_that_settings_have_is_read():
    depth = MAX_DEPTH - 1
    value = read_yaml(depth * "[" + "1" + depth * "]")
    for _ in range(depth):
        (value,) = value
    assert value == 1


def test_a_line_is_short_and_readable():
    assert one_line(" a\n b\x00\x1b[31m ") == "a b [31m"
    long = one_line("first " + 5000 * "x" + " last")
    assert len(long) < 620
    assert long.startswith("first")
    assert long.endswith("last")
    assert str(OneLineError("a\nb")) == "a b"
