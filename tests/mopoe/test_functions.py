"""Functions named in words: found, or one reason why not; and what a signature may have."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mopoe.data.registry import ModalitySpec, entry
from mopoe.errors import ConfigError, DataError
from mopoe.functions import also_import_from, named_function

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Return a function that writes a module, new for each test, and gives its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"functions_{abs(hash(request.node.nodeid))}"

    def make(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        also_import_from(str(tmp_path))
        return name

    return make


def test_a_function_is_found_by_its_module_and_name(write: Write) -> None:
    """It is the module's own object."""
    module = write("def f():\n    return 3\n")
    assert named_function(f"{module}:f")() == 3
    assert named_function("math:gcd")(12, 18) == 6


def test_a_folder_is_added_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no file of a user's can hide a library."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "math.py").write_text("gcd = None\n")
    before = list(sys.path)
    also_import_from(str(tmp_path))
    also_import_from(str(tmp_path))
    assert sys.path == [*before, str(tmp_path)]


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("f = 3\n", "f", "data set 'M:f' is of type int, but must be a function"),
        ("", "f", "data set 'M:f' cannot be imported (AttributeError: module 'M' has no attribute 'f')"),
        ("", "", "data set 'M:' cannot be imported (AttributeError: module 'M' has no attribute '')"),
        (
            "\nimport nowhere\n",
            "f",
            "data set 'M:f' cannot be imported (ModuleNotFoundError: No module named 'nowhere'; P:2)",
        ),
        (
            "\n\nx = 1 / 0\n",
            "f",
            "data set 'M:f' cannot be imported (ZeroDivisionError: division by zero; P:3)",
        ),
        ("def f(:\n", "f", "data set 'M:f' cannot be imported (SyntaxError: invalid syntax (M.py, line 1))"),
        ("def f(*a): ...", "f", "data set 'M:f' has the parameter 'a', which a sweep's file cannot give"),
        (
            "def f(name): ...",
            "f",
            "data set 'M:f' has the parameter 'name', which a sweep's file cannot give",
        ),
        (
            "def f(x=0.5): ...",
            "f",
            "data set 'M:f' has the option 'x' = 0.5, but options are words or whole numbers",
        ),
        (
            "def f(x=True): ...",
            "f",
            "data set 'M:f' has the option 'x' = True, but options are words or whole",
        ),
        ("def f(x: float): ...", "f", "data set 'M:f' has the option 'x' of type float, but options are str"),
        (
            "def f(): ...\nf.modalities = 'ab'",
            "f",
            "data set 'M:f' has the attribute `modalities`, but not all",
        ),
    ],
)
def test_what_is_no_data_set_is_said_in_one_sentence(
    write: Write, tmp_path: Path, text: str, name: str, sentence: str
) -> None:
    """With the place in the user's file, if it was running."""
    module = write(text)
    with pytest.raises(ConfigError) as error:
        entry(f"{module}:{name}")
    expected = (
        sentence.replace("M", module)
        .replace(f"{module}odule", "Module")
        .replace("P:", f"{tmp_path}/{module}.py:")
    )
    assert str(error.value).startswith(expected)


def test_the_signature_gives_the_options(write: Write) -> None:
    """Defaults, required words and whole numbers, annotations as text too, and modalities told beforehand."""
    module = write(
        "from __future__ import annotations\n"
        "from mopoe.data.registry import ModalitySpec\n"
        "def f(path: str, any, n: int, *, seed: int = 4, kind: str = 'x'): ...\n"
        "f.modalities = [ModalitySpec(name='a', shape=(2,))]\n"
    )
    found = entry(f"{module}:f")
    assert dict(found.options) == {"seed": 4, "kind": "x"}
    assert dict(found.required) == {"path": "a word", "any": "a word", "n": "a whole number"}
    assert found.numbers == {"n"}
    assert found.modalities == (ModalitySpec(name="a", shape=(2,)),)


def test_loading_fills_in_defaults_and_checks_options(write: Write) -> None:
    """What a function returns that is no data set is said with its name."""
    from mopoe.data import load

    module = write("def f(n: int, seed: int = 4):\n    return [n, seed]\n")
    with pytest.raises(ConfigError, match=r"^data set '.*:f' has no option 'sed'; there are: n, seed$"):
        load(f"{module}:f", sed=3)
    with pytest.raises(ConfigError, match=r"^data set '.*:f' needs the option 'n': a whole number$"):
        load(f"{module}:f")
    with pytest.raises(
        DataError, match=r"^data set '.*:f': its function returned a list, but must return a "
    ):
        load(f"{module}:f", n=3)


def test_a_network_that_cannot_be_imported_names_its_modality() -> None:
    """The same reasons as for a data set."""
    from mopoe.config import TrialConfig
    from mopoe.networks import build_modality

    with pytest.raises(ConfigError) as error:
        build_modality(TrialConfig(), ModalitySpec(name="a", shape=(2,), network="nowhere:f"), 3)
    assert str(error.value) == (
        "modality 'a' has the network 'nowhere:f', but it cannot be imported (ModuleNotFoundError: No module "
        "named 'nowhere'); it must be a function, as 'package.module:function'"
    )
