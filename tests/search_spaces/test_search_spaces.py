"""The reader of YAML files: values, lines, overrides and the sentence about every broken file."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import search_spaces
from mopoe.errors import ConfigError
from search_spaces import find, load_yaml, parsed, split_assignment

TEXT = """\
# a comment
name: small
search_space:
  beta: {type: log_uniform, low: 0.25, high: 8}
  lr:
    type: uniform
    low: 1e-3
objectives:
  - joint_coherence
  - log_likelihood
fixed: {channels: [16, 32,
  64]}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes x.yaml in the current folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "x.yaml").write_bytes(data)
        return Path("x.yaml")

    return write


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Put two files where the shipped ones are, and go to an empty folder."""
    package = tmp_path / "search_spaces"
    package.mkdir()
    (package / "digits.yaml").write_text("name: digits\n")
    (package / "faces.yaml").write_text("name: faces\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(search_spaces, "_SHIPPED", package)
    monkeypatch.chdir(elsewhere)
    return package


def refusal(function, *arguments):
    """Return the message of the ConfigError that a call raises."""
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


def test_values_are_plain_dicts_lists_and_scalars(write):
    """Exponents without a dot are numbers, as in YAML 1.2."""
    assert load_yaml(write(TEXT)).data == {
        "name": "small",
        "search_space": {
            "beta": {"type": "log_uniform", "low": 0.25, "high": 8},
            "lr": {"type": "uniform", "low": 0.001},
        },
        "objectives": ["joint_coherence", "log_likelihood"],
        "fixed": {"channels": [16, 32, 64]},
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("search_space",), 3),
        (("search_space", "beta"), 4),
        (("search_space", "beta", "high"), 4),
        (("search_space", "lr", "low"), 7),
        (("objectives",), 8),
        (("objectives", 0), 9),
        (("objectives", 1), 10),
        (("fixed", "channels", 2), 12),
        (("search_space", "gamma"), 3),
        (("objectives", 2), 8),
        (("objectives", "x"), 8),
        (("name", "x"), 2),
    ],
)
def test_lines_count_from_one(write, path, line):
    """Every key and list element has the line it stands in, and what is absent that of its parent."""
    assert load_yaml(write(TEXT)).where(path) == f"x.yaml:{line}"


def test_the_place_of_merged_keys(write):
    """A key merged in with `<<` has the line of its definition; one given again has its own."""
    document = load_yaml(write("a: &a\n  low: 1\n  high: 2\nb:\n  <<: *a\n  high: 3\n"))
    assert document.data["b"] == {"low": 1, "high": 3}
    assert document.where(("b", "low")) == "x.yaml:2"
    assert document.where(("b", "high")) == "x.yaml:6"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        ("-2E+2", -200.0),
        (".5e1", 5.0),
        ("5.", 5.0),
        ("12", 12),
        ("0.25", 0.25),
        (".inf", math.inf),
        ("true", True),
        ("null", None),
        ("", None),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1e3x", "1e3x"),
        ("tpe", "tpe"),
        ("'3'", "3"),
        ("[1, 2.5]", [1, 2.5]),
        ("{low: 1}", {"low": 1}),
        ("2024-01-31", "2024-01-31"),
        ("064", 64),
        ("010", 10),
        ("-007", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("TRUE", True),
        ("~", None),
        ("-.Inf", -math.inf),
        ("=", "="),
    ],
)
def test_scalars_have_their_type(text, value):
    """By YAML 1.2's core schema: 1.1 would read 064 as 52, 1:30 as 90 and `no` as false."""
    _, found = split_assignment(f"key={text}")
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_as_written(x):
    """Python's shortest text of a float, with or without dot and sign, is read as that float."""
    assert split_assignment(f"x={x!r}") == ("x", x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml is empty, but must have keys and values such as `trials: 14`"),
        ("# only a comment\n", "x.yaml is empty, but must have keys and values such as `trials: 14`"),
        ("- a\n- b\n", "x.yaml:1: the file is ['a', 'b'], but must be a mapping of keys to values"),
        ("hello\n", "x.yaml:1: the file is 'hello', but must be a mapping of keys to values"),
        ("a: 1\nb: [1, 2\nc: 3\n", "x.yaml:3:2: invalid YAML: expected ',' or ']', but got ':'"),
        ("a: b: c\n", "x.yaml:1:5: invalid YAML: mapping values are not allowed here"),
        ("a: *b\n", "x.yaml:1:4: invalid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: invalid YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "x.yaml:1:4: invalid YAML: could not determine a constructor"),
        ("a: &x [*x]\n", "x.yaml:1:4: invalid YAML: an alias refers to a node that contains it"),
        ("a: 1\nb: &x {c: *x}\n", "x.yaml:2:4: invalid YAML: an alias refers to a node that contains it"),
        (
            "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
            + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdef")),
            "x.yaml:6:4: invalid YAML: more than 100,000 keys and values",
        ),
        (f"a: {'9' * 5000}\n", "x.yaml: invalid YAML: Exceeds the limit (4300 digits)"),
        ("a: \x07\n", "x.yaml: invalid YAML: unacceptable character #x0007"),
        ("[" * 1000, "x.yaml: invalid YAML: nested too deeply"),
        (
            "a: 1\nb: 2\na: 3\n",
            "x.yaml:3:1: invalid YAML: key 'a' appears twice, in lines 1 and 3; keep one",
        ),
        (
            "s:\n  beta: {low: 1, high: 2, low: 3}\n",
            "x.yaml:2:27: invalid YAML: key 'low' appears twice, in lines 2 and 2; keep one",
        ),
        (b"a: \xff\n", "x.yaml is not a text file in UTF-8"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(write, text, message):
    """The message names the file and, where PyYAML knows it, line and column."""
    found = refusal(load_yaml, write(text))
    assert found.startswith(message)
    assert "\n" not in found


def test_the_same_key_in_two_mappings_is_no_duplicate(write):
    """Only keys of one mapping may not repeat, and a number is another key than its text."""
    assert load_yaml(write("a: {x: 1}\nb: {x: 2, 1: 3, '1': 4}\n")).data["b"] == {"x": 2, 1: 3, "1": 4}


def test_a_byte_order_mark_is_skipped(write):
    """Files of Windows editors are read."""
    assert load_yaml(write(b"\xef\xbb\xbfa: 1\n")).data == {"a": 1}


def test_a_missing_file_a_folder_and_a_locked_file_are_refused(tmp_path, monkeypatch):
    """Each has its own sentence."""
    path = tmp_path / "no.yaml"
    assert refusal(load_yaml, path) == f"{path} cannot be read: No such file or directory"
    assert refusal(load_yaml, tmp_path) == f"{tmp_path} cannot be read: Is a directory"
    (tmp_path / "a").write_text("a: 1")
    path = tmp_path / "a" / "b.yaml"
    assert refusal(load_yaml, path) == f"{path} cannot be read: Not a directory"


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab:-{}[]&*!<>'\"#%|,?\n 01.e~="), max_size=30))
def test_any_text_is_a_document_or_a_config_error(text):
    """No text at all makes the reader fail in another way."""
    try:
        document = parsed(text, Path("any.yaml"))
    except ConfigError as error:
        assert str(error).startswith("any.yaml")  # noqa: PT017 - both outcomes are right
    else:
        assert document.data == yaml.safe_load(text) or re.search(r"\d[eE]", text)
        words = [key for key in document.data if isinstance(key, str)]
        assert all(re.fullmatch(r"any\.yaml:\d+", document.where((key,))) for key in words)


def test_find_takes_an_existing_path_as_it_is(shipped, tmp_path):
    """A file in the current folder goes before the shipped one of the same name."""
    assert find(shipped / "faces.yaml") == shipped / "faces.yaml"
    (tmp_path / "elsewhere" / "digits.yaml").write_text("name: mine\n")
    assert load_yaml(find("digits.yaml")).data == {"name": "mine"}
    assert load_yaml(find("digits")).data == {"name": "digits"}


@pytest.mark.parametrize(
    "name", ["digits", "digits.yaml", "search_spaces/digits.yaml", "search_spaces/digits"]
)
def test_find_knows_the_shipped_files_by_name(shipped, name):
    """With or without the suffix and the folder."""
    assert find(name) == shipped / "digits.yaml"


def test_find_prefers_a_shipped_file_to_a_folder_of_the_same_name(shipped, tmp_path):
    """A results folder called `digits` does not hide the search space."""
    (tmp_path / "elsewhere" / "digits").mkdir()
    assert find("digits") == shipped / "digits.yaml"


def test_find_lists_the_shipped_names_with_the_nearest(shipped, tmp_path):
    """Only a bare name or one under search_spaces/ stands for a shipped file."""
    assert refusal(find, "digit") == "there is no file digit; did you mean 'digits'? shipped: digits, faces"
    assert refusal(find, "x.yaml") == "there is no file x.yaml; shipped: digits, faces"
    assert refusal(find, "other/faces.yaml") == (
        "there is no file other/faces.yaml; did you mean 'faces'? shipped: digits, faces"
    )
    assert refusal(find, tmp_path) == f"{tmp_path} is a folder, but must be a YAML file"


def test_an_override_replaces_one_value_of_a_copy(write):
    """Missing mappings on the way are made, and the document before stays as it was."""
    before = load_yaml(write("trials: 3\nevaluation: {every: 1}\n"))
    after = before.override("evaluation.seed=1e2").override("trials=30").override("fixed.epochs=5")
    assert after.data == {"trials": 30, "evaluation": {"every": 1, "seed": 100.0}, "fixed": {"epochs": 5}}
    assert before.data == {"trials": 3, "evaluation": {"every": 1}}


def test_keys_with_dots_are_one_or_nested(write):
    """A name is looked for as it is and inside of mappings, of the file's keys and of what is overridden."""
    text = "fixed:\n  network.a: 1\n  network:\n    b: 2\n    c:\n      d.e: 3\nx: [1]\n"
    document = load_yaml(write(text))
    names = ("network.a", "network.b", "network.c.d.e", "network.c.f", "network.g", "x")
    assert [document.where(("fixed", n)) for n in names] == [f"x.yaml:{n}" for n in (2, 4, 6, 1, 1, 1)]
    assert document.where(("x.y",)) == "x.yaml"
    values = {
        "fixed.network.a": 5,
        "fixed.network.b": 6,
        "fixed.network.c.d.e": 7,
        "fixed.network.h": {"i": 8},
    }
    for name, value in values.items():
        document = document.override(f"{name}={value}")
    inner = {"b": 6, "c": {"d.e": 7}, "h": {"i": 8}}
    assert document.data["fixed"] == {"network.a": 5, "network": inner}
    assert document.where(("fixed", "network.a", "low")) == "'fixed.network.a=5'"
    assert document.where(("fixed", "network.h.i")) == "\"fixed.network.h={'i': 8}\""


def test_where_is_the_line_or_the_override(write):
    """What is absent is at its nearest ancestor; what an override set is at the override."""
    document = load_yaml(write(TEXT)).override("search_space.lr={low: 1}").override("name=x")
    assert document.where(("objectives", 1)) == "x.yaml:10"
    assert document.where(("search_space", "beta", "step")) == "x.yaml:4"
    assert document.where(("trials",)) == "x.yaml"
    assert document.where(("name",)) == "'name=x'"
    assert document.where(("search_space", "lr", "low")) == "'search_space.lr={low: 1}'"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("trials", "'trials' is not an assignment; write KEY=VALUE, for example trials=30"),
        ("=3", "'=3' is not an assignment; write KEY=VALUE, for example trials=30"),
        ("trials=[1", "'trials=[1': invalid YAML: expected ',' or ']', but got '<stream end>'"),
        ("name.x=3", "'name.x=3': name is not a mapping and has no key 'x'"),
        ("objectives.0=x", "'objectives.0=x': objectives is not a mapping and has no key '0'"),
    ],
)
def test_an_impossible_override_is_refused(write, assignment, message):
    """The message starts with the override."""
    assert refusal(load_yaml(write(TEXT)).override, assignment) == message
