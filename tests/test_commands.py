"""Every command that the pages document or the product prints is one, with its options and arguments."""

import ast
import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sweep.cli import COMMANDS, app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.yaml"))]
PAGES += sorted((ROOT / "search_spaces").glob("*.yaml"))
SOURCES = sorted(path for package in ("sweep", "mopoe") for path in (ROOT / package).rglob("*.py"))


def written_out(text: str) -> Iterator[str]:
    """Give the commands that `a|b` and `[--option X]` stand for."""
    choices = [part.split("|") for part in re.split(r"(\S+\|\S+)", text)]
    for words in product(*choices):
        for keep in (r"\1", ""):
            yield re.sub(r"\[([^\]]*)\]", keep, "".join(words))


def documented(path: Path) -> Iterator[str]:
    """Give the commands of a page: those in code of their own and those within a sentence."""
    for line in path.read_text(encoding="utf-8").splitlines():
        code = re.fullmatch(r"(?:#? {4,}|# )(sweep .*?)(?:\s+#.*)?", line)
        found = re.split(r" ; | && ", code[1]) if code else re.findall(r"`(sweep [^`]+)`", line)
        for text in found:
            yield from written_out(text.removesuffix(" ...").partition(" > ")[0])


def printed(path: Path) -> Iterator[str]:
    """Give the commands in a module's texts, with a word for each value that is put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
            text = "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        yield from (" ".join(found.split()) for found in re.findall(r"`(sweep [^`]+)`", text))


@pytest.fixture(scope="module")
def idle() -> typer.Typer:
    """The command line with commands that do nothing."""

    def doing_nothing(function: Callable[..., object]) -> Callable[..., None]:
        @functools.wraps(function)
        def nothing(*_: object, **__: object) -> None: ...

        return nothing

    def copied(of: typer.Typer) -> typer.Typer:
        callback = of.registered_callback
        made = typer.Typer(callback=callback and callback.callback)
        for command in of.registered_commands:
            assert command.callback is not None
            made.command(command.name)(doing_nothing(command.callback))
        for group in of.registered_groups:
            assert group.typer_instance is not None
            made.add_typer(copied(group.typer_instance), name=group.name)
        return made

    return copied(app)


def wrong(idle: typer.Typer, command: str, *, whole: bool) -> str:
    """Return what is wrong with a command; one within a sentence may lack its arguments."""
    found = CliRunner().invoke(idle, shlex.split(command)[1:])
    lacks = re.search("Missing (argument|option|command)", found.output)
    return "" if found.exit_code == 0 or (lacks and not whole) else f"{command}: {found.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_are_commands(idle: typer.Typer, page: Path) -> None:
    """A page without any holds trivially."""
    found = {wrong(idle, command, whole=False) for command in documented(page)}
    assert found <= {""}


def test_what_is_no_command_is_seen(idle: typer.Typer) -> None:
    """A wrong name, an option that there is not, an argument too many."""
    for command in ("sweep tril X", "sweep trial X --sett a=1", "sweep status A B", "sweep data fech X"):
        assert wrong(idle, command, whole=False)
    assert wrong(idle, "sweep trial", whole=True)
    assert not wrong(idle, "sweep trial", whole=False)


def test_the_commands_of_the_first_pages_are_whole(idle: typer.Typer) -> None:
    """What a newcomer pastes from README and guide lacks no argument."""
    found = [
        command
        for name in ("README.md", "docs/guide.md")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if line.startswith("    sweep ")
        for text in re.split(r" ; ", line.partition("#")[0].strip())
        for command in written_out(text.removesuffix(" ...").partition(" > ")[0])
    ]
    assert len(found) > 30
    assert {wrong(idle, command, whole="data build" not in command) for command in found} == {""}


def test_printed_commands_are_commands(idle: typer.Typer) -> None:
    """Those of errors, hints and the report, with their options."""
    found = {command for path in SOURCES for command in printed(path)}
    assert len(found) > 10
    assert {wrong(idle, command, whole=False) for command in found} == {""}


def test_the_guides_python_runs(tmp_path: Path) -> None:
    """As it stands there, without a warning."""
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    losses = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)


def test_the_version_is_that_of_the_package() -> None:
    """`sweep --version` needs no command."""
    found = CliRunner().invoke(app, ["--version"])
    assert (found.exit_code, found.output) == (0, f"mopoe-sweep {version('mopoe-sweep')}\n")


def test_every_command_stands_in_a_group() -> None:
    """The help has no list of what is left."""
    named = [command.name for command in app.registered_commands]
    assert len(named) == len(set(named)) == sum(map(len, COMMANDS.values()))
    assert all(command.rich_help_panel in COMMANDS for command in app.registered_commands)
