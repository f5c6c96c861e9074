"""The command line: its commands and how they end. Nothing heavy is imported before a command runs."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError, MopoeError
from mopoe.plugins import also_import_from
from sweep.commands import add, aws, cluster, data, init, models, report, run, slurm, store, trial, watch
from sweep.commands.terminal import adapt_streams, say

COMMANDS = {
    "Run sweeps": (
        init.init,
        run.run,
        run.resume,
        run.extend,
        add.add,
        run.show_config,
        trial.trial,
        slurm.slurm,
    ),
    "Follow and read them": (watch.status, watch.watch, report.report, report.best),
    "Use their models": (trial.samples, models.evaluate, models.impute, models.embed, models.generate),
    "Keep their tables": (store.verify, store.compact, store.merge, store.export),
    "On clusters": (cluster.doctor, cluster.attach, cluster.stop, cluster.fetch),
}
"""The commands by what one wants."""

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for MoPoE multimodal VAEs: coherence against likelihood.",
    epilog="Exit status: 0 done, 1 trials or checks failed, 2 bad input, 130 or 143 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__.replace("_", "-"), rich_help_panel=_panel)(_command)
app.add_typer(data.app, name="data", rich_help_panel="Run sweeps")
app.add_typer(aws.app, name="cluster", rich_help_panel="On clusters")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        say(f"mopoe-sweep {version('mopoe-sweep')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; an error of the project's tree is one sentence and its exit status."""
    adapt_streams()
    try:
        also_import_from(_here())  # data sets and networks of the user's own
        app()
    except MopoeError as error:
        say(f"sweep: {error}", err=True)
        sys.exit(error.exit_status)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        raise ConfigError("the current folder no longer exists; change to another one") from error
