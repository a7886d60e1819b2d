"""Space files: messages name the line and key of a mistake; hostile files are refused quickly."""

import random
import re
import time
from pathlib import Path

import pytest

from nas.space.space import SearchSpace

VALID = """\
stem: 16
width_multiplier: [0.5, 1]
stages:
  - width: 16
    stride: 1
    repeats: [1, 2]
    p: [2, 4]
    r: [2, 4]
    expansion: [dct, pointwise]
  - width: 32
    stride: 2
    repeats: 2
    p: 2
"""
STAGE = "  - {width: 8, stride: 1, repeats: 1, p: 2}\n"
BILLION_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


def read(path: Path, content: str | bytes) -> SearchSpace:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SearchSpace.from_yaml(path)


def refusal(path: Path, content: str | bytes) -> str:
    """The message without the file's name, which it must begin with."""
    start = time.process_time()
    with pytest.raises(ValueError, match=r"^space file ") as caught:
        read(path, content)
    assert time.process_time() - start < 1
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    return message.removeprefix(f"space file {path}").removeprefix(", ").removeprefix(": ")


def test_a_valid_file_is_read(tmp_path):
    space = read(tmp_path / "mine.yaml", VALID)
    assert space.name == "mine"
    assert space.size == 2 * (2 * 2 * (2 + 1)) * (1 + 1)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_shipped_spaces_are_valid(path):
    assert SearchSpace.from_yaml(path).distinct_size > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stem: 16", "stem: 0", "line 1: stem: 0 should be greater than or equal to 1"),
        ("stem: 16", "stem: [16]", "line 1: stem: a list of 1 should be a valid integer"),
        ("stem: 16", "stem: 16.0", "line 1: stem: 16.0 should be a valid integer"),
        ("stem: 16", "stem: true", "line 1: stem: True should be a valid integer"),
        ("stem: 16", "stem:", "line 1: stem: nothing should be a valid integer"),
        ("stem: 16", "stem: 2020-13-45", "line 1: '2020-13-45' is not a valid value"),
        ("stem: 16", "stem: !!timestamp 4", "line 1: '4' is not a valid value"),
        ("stem: 16", "stem: !!bool x", "line 1: 'x' is not a valid value"),
        ("stem: 16", "stem: !!int ''", "line 1: '' is not a valid value"),
        ("stem: 16", "stem: 16\nstem: 8", "line 1: key 'stem' is given twice"),
        ("stem: 16\n", "", "line 1: stem: missing; the keys are stem, width_multiplier, stages"),
        ("stem: 16", "stem: 16\nroot: 8", "line 2: root: unknown key; accepted: stem, width_mult"),
        ("[0.5, 1]", "[0.5, 0]", "line 2: width_multiplier[1]: 0 should be greater than 0"),
        ("[0.5, 1]", "[0.5, 17]", "line 2: width_multiplier[1]: 17 should be less than or"),
        ("[0.5, 1]", "['1']", "line 2: width_multiplier[0]: '1' should be a valid number"),
        ("[0.5, 1]", "[yes]", "line 2: width_multiplier[0]: True should be a valid number"),
        ("[0.5, 1]", "[.nan]", "line 2: width_multiplier[0]: nan should be a finite number"),
        ("[0.5, 1]", "[1, 1.0]", "line 2: width_multiplier: 1.0 is listed twice"),
        ("[0.5, 1]", "[]", "line 2: width_multiplier: a list of 0 should have at least 1"),
        ("[0.5, 1]", "{a: 1}", "line 2: width_multiplier[0]: a mapping of 1 should be a valid"),
        ("width: 16", "width: 4097", "line 4: stages[0].width: 4097 should be less than or eq"),
        ("[0.5, 1]", "16\nx: 1", "line 3: x: unknown key"),
        ("width: 32", "width: 4096", "CASE"),
        ("stride: 2", "stride: 3", "line 11: stages[1].stride: 3 should be less than or"),
        ("repeats: 2", "repeats: 65", "line 12: stages[1].repeats[0]: 65 should be less than"),
        ("[1, 2]", "\n    - 1\n    - 2\n    - 2", "line 6: stages[0].repeats: 2 is listed"),
        ("[1, 2]", "\n    - 1\n    - x", "line 8: stages[0].repeats[1]: 'x' should be"),
        ("r: [2, 4]", f"r: {[*range(1, 66)]}", "line 8: stages[0].r: a list of 65 should"),
        ("p: [2, 4]", "p: [2, 128]", "line 7: stages[0].p[1]: 128 should be less than"),
        ("    p: 2\n", "", "line 10: stages[1].p: missing; the keys are width"),
        ("p: 2\n", "q: 2\n    p: 2\n", "line 13: stages[1].q: unknown key; accepted: width"),
        ("[dct, pointwise]", "[dct, se]", "line 9: stages[0].expansion[1]: 'se' should"),
        ("  - width: 32", "  - 7\n  - width: 32", "line 10: stages[1]: 7 should be a mapping"),
        ("[2, 4]\n    exp", "[2, 4\n    exp", "line 9: expected ',' or ']', but got"),
        ("stem: 16", "\tstem: 16", "line 1: found character '\\t' that cannot start any token"),
        ("stem: 16", "stem: !!python/name:os.system 1", "line 1: could not determine"),
        ("stem: 16", "stem: !<a%0Ab> 1", "line 1: could not determine a constructor"),
        ("stem: 16", "? [a]\n: 1", "line 1: found unhashable key"),
    ],
)  # fmt: skip
def test_mistakes_are_shown_with_line_key_value_and_what_is_accepted(tmp_path, old, new, message):
    assert VALID.count(old) >= 1
    if message == "CASE":
        content = VALID.replace("[0.5, 1]", "[0.5, 2]").replace(old, new)
        message = "line 10: stages[1].width: 4096 x 2 is 8192 channels; accepted: at most 4096"
    else:
        content = VALID.replace(old, new, 1)
    assert refusal(tmp_path / "space.yaml", content).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no mapping; accepted: the keys stem, width_multiplier, stages"),
        ("- 1\n", "holds no mapping"),
        ("stages: []\nstem: 8\nwidth_multiplier: 1\n", "line 1: stages: a list of 0 should"),
        ("stages: 3\nstem: 8\nwidth_multiplier: 1\n", "line 1: stages: 3 should be a list"),
        ("stem: 4096\nwidth_multiplier: 2\nstages:\n" + STAGE, "line 1: stem: 4096 x 2 is 8192"),
        ("stem: 8\nwidth_multiplier: 1\nstages:\n" + STAGE * 9, "line 3: stages: a list of 9"),
        ("stem: 8\nwidth_multiplier: 1\nstages:\n" + STAGE * 1_000_000, "larger than 32768 bytes"),
        ("stem: 8\n" * 3_000, "line 1: key 'stem' is given twice"),
        ("stem: " + "9" * 5_000, "line 1: '99999"),
        ("stem: " + "9" * 4_000, "line 1: stem: a huge integer should be less than"),
        (VALID.replace("[0.5, 1]", "9" * 4_000), "line 2: width_multiplier[0]: a huge integer"),
        ("stem: 1e999\n", "line 1: stem: '1e999' should be a valid integer"),
        ("stem: " + "1:" * 10_000 + "1", "line 1: "),
        ("[" * 30_000, "line 1: nested too deeply; accepted: at most 8 levels"),
        ("{a: " * 8_000, "line 1: nested too deeply"),
        ("- " * 16_000, "line 1: nested too deeply"),
        ("? " * 16_000, "line 1: nested too deeply"),
        ("a: &a [1]\nb: *a\n", "line 2: aliases (*name) are not accepted"),
        (BILLION_LAUGHS, "line 2: aliases (*name) are not accepted"),
        ("stem: 8\n---\nstem: 8\n", "line 2: but found another document"),
        (b"\x7fELF\x02\x01\x00\x00\xff\xfe", "not a text file; accepted: YAML in UTF-8"),
        (b"stem: 8\x00\n", "not a text file; accepted: YAML in UTF-8"),
        ("stem: 8".encode("utf-16"), "not a text file; accepted: YAML in UTF-8"),
        ("x" * 30_000 + ": 1", "line 1: "),
        ("x\u2028y: 1", ""),
        (
            f"stem: 8\nwidth_multiplier: {[i / 8 for i in range(1, 65)]}\nstages:\n"
            f"  - {{width: 8, stride: 1, p: {[*range(1, 65)]}, repeats: {[*range(1, 65)]}}}\n",
            "line 3: stages: settings of all stages x width multipliers are 524288; accepted: at",
        ),
    ],
    ids=lambda value: repr(value[:20]),
)  # fmt: skip
def test_hostile_files_are_refused_in_one_line_within_a_second(tmp_path, content, message):
    assert refusal(tmp_path / "space.yaml", content).startswith(message)


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path, reason in (
        (tmp_path / "none.yaml", "cannot be read (No such file or directory)"),
        (tmp_path, "cannot be read (Is a directory)"),
        (tmp_path / "a\0b", "cannot be read (embedded null byte)"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(f"space file {path}: {reason}")):
            SearchSpace.from_yaml(path)


def test_plain_values_are_refused_like_files():
    with pytest.raises(ValueError, match=r"^space mine: stem: missing; the keys are stem, width_"):
        SearchSpace.from_dict({}, "mine")
    with pytest.raises(ValueError, match=r"^space mine: the whole: 3 should be a mapping"):
        SearchSpace.from_dict(3, "mine")


PIECES = [
    "0", "-1", "1", "2", "64", "4096", "9" * 30, "0.5", "1e3", ".inf", ".nan", "null", "true",
    "dct", "pointwise", "''", "[", "]", "{", "}", ":", "- ", "? ", "\n", "  ", "\t", "#", "*a",
    "&a ", "!!set ", "!!binary ", "|", ">", "%", "@", "\u00e9", "\x00", "[]", "{}", "[1, 1]",
    "<<: ", "2020-01-01", "stem: 3\n", "stages:\n",
]  # fmt: skip


def mutate(rng: random.Random) -> str:
    """A valid file with pieces exchanged, removed, doubled or inserted."""
    tokens = re.findall(r"\w+|\s+|[^\w\s]", VALID)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(tokens))
        length = rng.randint(0, 3)
        replacement = rng.choice([[rng.choice(PIECES)], [], tokens[at : at + length] * 2])
        tokens[at : at + length] = replacement
    return "".join(tokens)


def fuzz(path: Path, seeds: range) -> None:
    accepted = 0
    for seed in seeds:
        content = mutate(random.Random(seed))
        path.write_bytes(content.encode())
        try:
            space = SearchSpace.from_yaml(path)
        except ValueError as error:
            assert str(error).startswith(f"space file {path}"), content  # noqa: PT017
            assert str(error).isprintable(), content  # noqa: PT017
            continue
        accepted += 1
        arch = space.sample(random.Random(0))
        assert space.decode(space.encode(arch)) == arch, content
        assert 1 <= space.distinct_size <= space.size, content
    assert accepted < len(seeds) / 2


def test_mutated_files_are_spaces_or_one_line(tmp_path):
    fuzz(tmp_path / "space.yaml", range(300))


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_spaces_or_one_line(tmp_path):
    fuzz(tmp_path / "space.yaml", range(300, 10_300))
