"""Options that several commands share, each declared once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

_FOLDER = typer.Argument(help="A results folder, or an address such as s3://BUCKET/FOLDER.", metavar="DIR")
Folder = Annotated[Path, _FOLDER]
MaybeFolder = Annotated[Path | None, _FOLDER]

File = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.", metavar="FILE")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="Replace a value of the file, as in trials=30 (repeatable)."),
]
Address = Annotated[
    str,
    typer.Option(
        help="'local' for this machine, 'auto' for the Ray cluster it belongs to, or a cluster's address."
    ),
]
_CLUSTER = typer.Option("--cluster", help="Act on the cluster of this file for `ray up`.", metavar="FILE")
Cluster = Annotated[Path, _CLUSTER]
MaybeCluster = Annotated[Path | None, _CLUSTER]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a sweep is run: the options of `run`, `resume` and `extend`."""

    override: Overrides = None
    allow_changed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Continue although this key has changed, as in evaluation.importance_samples (repeatable).",
        ),
    ] = None
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also retry failed trials.")] = False
    address: Address = "local"
    cluster: MaybeCluster = None
    workers: Annotated[
        int, typer.Option(help="Wait up to two minutes for this many workers of the cluster.", min=0)
    ] = 0
    optuna_storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL_OR_FILE",
            help="Copy the study to this database or journal file, for optuna-dashboard.",
        ),
    ] = None
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write DIR/tensorboard.")] = False
    log: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Give every record to this function, such as sweep.loggers:mlflow or sweep.loggers:wandb.",
        ),
    ] = None

    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but the final table, warnings and errors.")
    ] = False

    def words(self) -> list[str]:
        """Return the options that differ from their defaults as words of a command line."""
        changed = (field for field in fields(self) if getattr(self, field.name) != field.default)
        return option_words({field.name: getattr(self, field.name) for field in changed})


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare an option of a command for each field of `RunOptions`, in place of its `**given`."""
    hints = get_type_hints(RunOptions, include_extras=True)
    parameters = signature(command, eval_str=True).parameters.values()
    own = [p for p in parameters if p.kind is not Parameter.VAR_KEYWORD]
    shared = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(RunOptions)
    ]
    vars(command)["__signature__"] = Signature([*own, *shared])
    return command


def option_words(options: Mapping[str, object]) -> list[str]:
    """Return options as words of a command line; None, False and empty lists are left out.

    >>> option_words({"out": "r", "set": ["a=1", "b=2"], "dry_run": True, "resume": False, "device": None})
    ['--out', 'r', '--set', 'a=1', '--set', 'b=2', '--dry-run']
    """
    words = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            for item in value if isinstance(value, list) else [value]:
                words += [option, str(item)]
    return words
