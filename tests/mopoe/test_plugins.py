"""Functions named in words: what may be imported and called, and one reason for everything else."""

import builtins
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import mopoe
from mopoe import plugins
from mopoe.data.registry import ModalitySpec, entry
from mopoe.errors import ConfigError, DataError
from mopoe.plugins import also_import_from, named_function, plugin

Write = Callable[[str], str]
MARK = "import mopoe\n@mopoe.plugin\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Return a function that writes a module, new for each test, and gives its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_folders", set())
    name = f"functions_{abs(hash(request.node.nodeid))}"

    def make(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        also_import_from(str(tmp_path))
        return name

    return make


def refusal(reference: str) -> str:
    """Return the sentence that refuses it."""
    with pytest.raises(ConfigError) as error:
        named_function(reference)
    return str(error.value)


def test_a_function_is_found_by_its_module_and_name(write: Write) -> None:
    """It is the module's own object; the mark leaves it as it was."""
    module = write(f"{MARK}def f():\n    return 3\n")
    found = named_function(f"{module}:f")
    assert (found(), found.__name__, found) == (3, "f", sys.modules[module].f)
    assert mopoe.plugin is plugin


@pytest.mark.parametrize(
    "reference", ["os:system", "os:popen", "subprocess:run", "builtins:exec", "math:gcd", "shutil:rmtree"]
)
def test_a_function_without_the_mark_is_not_called(reference: str) -> None:
    """However well known its module is."""
    name = reference.partition(":")[2]
    assert refusal(reference) == (
        f"is not marked as a plugin, so it is not called; if it is yours, put @mopoe.plugin above {name}"
    )


def test_a_function_of_ones_own_needs_the_mark_as_well(write: Write) -> None:
    """And the sentence says how to give it."""
    assert refusal(f"{write('def f(): ...')}:f").endswith("put @mopoe.plugin above f")


@pytest.mark.parametrize("module", ["this", "antigravity", "json.tool", "lib2to3.main", "xmlrpc"])
def test_a_module_of_another_place_is_not_imported(module: str) -> None:
    """The standard library's `this` prints a poem when it is imported."""
    sys.modules.pop(module, None)
    assert refusal(f"{module}:f").startswith("lies in /")
    assert module not in sys.modules


def test_a_library_inside_the_start_folder_is_not_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an environment `.venv` beside the sweep's file: only what lies directly in the folder is."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / ".venv")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "inner_library.py").write_text("raise SystemExit('imported')\n")
    assert refusal("inner_library:f") == (
        f"lies in {tmp_path}/.venv/inner_library.py, and only modules in the folder where sweep was started, "
        "or of packages with an entry point 'mopoe.data', are imported"
    )


def test_packages_of_the_start_folder_are_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an `__init__.py` or without; a namespace that also lies elsewhere is not."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "other")])
    monkeypatch.chdir(tmp_path)
    for folder in ("of_mine", "without_init", "spread", "other/spread"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "m.py").write_text(f"{MARK}def f(): return 3\n")
    (tmp_path / "of_mine" / "__init__.py").touch()
    assert named_function("of_mine.m:f")() == named_function("without_init.m:f")() == 3
    assert refusal("spread.m:f").startswith("lies in ")


@pytest.mark.parametrize(
    "reference", ["", ":", ":f", ".:f", "..a:f", "a b:f", "/etc/passwd:f", "\0:f", "é.b:f"]
)
def test_what_names_no_module_is_refused(reference: str) -> None:
    """Without a trace of Python's own import."""
    assert refusal(reference).startswith(("cannot be imported (", "lies in Python itself"))


def test_a_package_offers_its_functions_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of either group; what it offers is marked as well."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "offered_package.py").write_text(f"{MARK}def f(): return 3\ndef g(): ...\n")
    points = {"mopoe.plugins": [EntryPoint("x", "offered_package.sub:f", "mopoe.plugins")]}
    assert refusal("offered_package:f").startswith(f"lies in {tmp_path}")
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))
    assert named_function("offered_package:f")() == 3
    assert refusal("offered_package:g").startswith("is not marked as a plugin")


def test_data_that_name_a_command_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of a data set are neither a shell's nor Python's."""
    ran: list[Any] = []
    for module, name in ((os, "system"), (os, "popen"), (builtins, "exec"), (builtins, "eval")):
        monkeypatch.setattr(module, name, ran.append)
    for reference in ("os:system", "os:popen", "builtins:exec", "builtins:eval", "posix:system"):
        with pytest.raises(ConfigError, match="is not marked as a plugin"):
            entry(reference)
    assert ran == []


def test_a_folder_is_added_once_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no file of a user's can hide a library."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_folders", set())
    (tmp_path / "math.py").write_text("gcd = None\n")
    before = list(sys.path)
    also_import_from(str(tmp_path))
    also_import_from(str(tmp_path))
    assert sys.path == [*before, str(tmp_path)]


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("f = 3\n", "f", "data set 'M:f' is not marked as a plugin, so it is not called"),
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
        (
            f"{MARK}def f(*a): ...",
            "f",
            "data set 'M:f' has the parameter 'a', which a sweep's file cannot give",
        ),
        (
            f"{MARK}def f(name): ...",
            "f",
            "data set 'M:f' has the parameter 'name', which a sweep's file cannot give",
        ),
        (
            f"{MARK}def f(x=0.5): ...",
            "f",
            "data set 'M:f' has the option 'x' = 0.5, but options must be strings or integers",
        ),
        (
            f"{MARK}def f(x=True): ...",
            "f",
            "data set 'M:f' has the option 'x' = True, but options must be strings",
        ),
        (
            f"{MARK}def f(x: float): ...",
            "f",
            "data set 'M:f' has the option 'x' of type float, but options are str",
        ),
        (
            f"{MARK}def f(): ...\nf.modalities = 'ab'",
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
        f"{MARK}"
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
    from mopoe.data import load_data

    module = write(f"{MARK}def f(n: int, seed: int = 4):\n    return [n, seed]\n")
    with pytest.raises(ConfigError, match=r"^data set '.*:f' has no option 'sed'; .* possible: n, seed$"):
        load_data(f"{module}:f", sed=3)
    with pytest.raises(ConfigError, match=r"^data set '.*:f' needs the option 'n': a whole number$"):
        load_data(f"{module}:f")
    with pytest.raises(
        DataError, match=r"^data set '.*:f': its function returned a list, but must return a "
    ):
        load_data(f"{module}:f", n=3)


def test_a_network_that_cannot_be_imported_names_its_modality() -> None:
    """The same reasons as for a data set."""
    from mopoe.config import TrialConfig
    from mopoe.networks import build_modality

    with pytest.raises(ConfigError) as error:
        build_modality(TrialConfig(), ModalitySpec(name="a", shape=(2,), network="nowhere:f"), 3)
    assert str(error.value) == (
        "modality 'a' has the network 'nowhere:f', but it cannot be imported (ModuleNotFoundError: "
        "No module named 'nowhere'); it is looked for where the command was started, "
        f"{Path.cwd()}, and among what is installed"
    )
