"""Malformed inputs, in short: `make fuzz` gives a million of them."""

import logging
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the engine cache and training configs need torch")

import fuzz_node
from fuzz_run import FuzzResult, fuzz, outcome
from fuzz_targets import TARGETS, folder_name

CORPUS = Path(__file__).with_name("fuzz_corpus")
FOUND = sorted(CORPUS.rglob("*.bin"))
BY_FOLDER = {folder_name(target): target for target in TARGETS}


@pytest.fixture(scope="module", autouse=True)
def closed():
    """No node of these tests works on beside those of others."""
    yield
    fuzz_node.close()


@pytest.fixture(autouse=True)
def quiet(capfd):
    """Libraries complain about bad input on the terminal; the node may, to its log."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", TARGETS, ids=folder_name)
def test_malformed_input_is_refused_with_the_decoders_own_error(target):
    result = fuzz(target, 40 + round(400 * target.share))
    assert result.failures == []
    assert result.refused + result.accepted == result.inputs
    assert result.refused > 0 or not target.refusals


@pytest.mark.parametrize("path", FOUND, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_was_found_once_is_refused_now(path):
    target = BY_FOLDER[path.parent.name]
    result = FuzzResult(target.name)
    assert outcome(target, path.read_bytes(), result) is None
    assert result.refused == 1 or path.stem in ("bad_hour", "bad_month", "tiny_distortion")


def test_good_input_is_taken():
    """A target that refuses everything would show nothing."""
    for target in TARGETS:
        if target.name == "pickles of plain data":  # some of its seeds hold what is refused
            continue
        assert outcome(target, target.seeds[0], FuzzResult(target.name)) is None, target.name
        result = FuzzResult(target.name)
        outcome(target, target.seeds[0], result)
        assert result.accepted == 1, target.name


def test_the_fuzzer_sees_what_is_wrong():
    (target,) = (t for t in TARGETS if t.name == "CDR messages")

    def fails(data):
        raise KeyError(data[0])

    def two_lines(data):
        raise target.refusals[0]("first\nsecond")

    for decode, words in ((fails, "KeyError"), (two_lines, "not one line")):
        result = fuzz(type(target)("x", target.refusals, target.seeds, decode), 10)
        assert words in result.failures[0][1]
