"""The command line: its commands and how they end. Nothing heavy is imported before a command runs."""

import sys
from pathlib import Path

import typer

from mopoe.errors import ConfigError, MopoeError
from mopoe.plugins import also_import_from
from sweep.commands import aws, cluster, data, models, report, run, slurm, store, trial, watch
from sweep.commands.terminal import adapt_streams, say

COMMANDS = (
    *(run.run, run.resume, run.extend, run.show_config, trial.trial),
    *(watch.status, watch.watch, report.report, report.best, trial.samples),
    *(models.evaluate, models.impute),
    *(store.verify, store.compact, store.merge, store.export),
    *(cluster.doctor, cluster.attach, cluster.stop, cluster.fetch, slurm.slurm),
)

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for MoPoE multimodal VAEs: coherence against likelihood.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in COMMANDS:
    app.command(_command.__name__.replace("_", "-"))(_command)
app.add_typer(data.app, name="data")
app.add_typer(aws.app, name="cluster")


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
