"""The options of a sweep's run: read from a command line, and written as one again."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweep.commands.options import RunOptions, with_run_options


def parsed(words):
    """Return the name and the options that a command with shared options gets."""
    taken = []
    app = typer.Typer()

    @app.command()
    @with_run_options
    def command(name: str, **given: Any) -> None:
        taken.append((name, RunOptions(**given)))

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return taken[0]


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(),
        RunOptions(override=["trials=5", "name=a b"], allow_changed=["seed"], retry_failed=True),
        RunOptions(
            address="10.0.0.1:6379", workers=3, optuna_storage="sqlite:///x.db", tensorboard=True, log="a.b:c"
        ),
        RunOptions(cluster=Path("c.yaml"), quiet=True),
    ],
)
def test_options_are_written_as_they_are_read(options):
    """Their words, given on a command line, make the same options; defaults are left out."""
    assert parsed(["x", *options.words()]) == ("x", options)


def test_the_short_option_is_read():
    """-o is --override."""
    assert parsed(["x", "-o", "trials=5"])[1].words() == ["--override", "trials=5"]
