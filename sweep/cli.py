"""The command line. Nothing heavy is imported before a command runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError, DataError, MopoeError, masked, shown
from mopoe.plugins import also_import_from
from sweep.commands.cluster import app as cluster_app
from sweep.commands.data import app as data_app
from sweep.commands.report import app as report_app
from sweep.commands.run import File, Overrides, extend, interrupted, repeated, resume, run
from sweep.commands.store import app as store_app
from sweep.commands.terminal import Folder, adapt_streams, command, console, say
from sweep.commands.watch import app as watch_app
from sweep.errors import TrialsFailedError

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for MoPoE multimodal VAEs: coherence against likelihood.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")

for _command in (run, resume, extend):
    app.command()(_command)


@app.command()
def trial(
    file: File,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the trial, as in beta=2.5 (repeatable).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: results/NAME-trials).")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from this trial's last checkpoint.")] = False,  # noqa: FBT002 - typer's way
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    override: Overrides = None,
) -> None:
    """Train one trial here, without Ray. Settings that are not set take the middle of the search space."""
    from sweep.config.objectives import names
    from sweep.config.sweep_spec import load_spec, trial_config_for

    spec = load_spec(file, override or ())
    config = trial_config_for(spec, set_ or ())
    root = out or Path("results") / f"{spec.name}-trials"
    from sweep.running.local import run_single
    from sweep.running.progress import TrialProgress
    from sweep.running.signals import stoppable
    from sweep.store.files import files_at

    screen = console()
    options = [*repeated("--set", set_), *repeated("-o", override), "--out", str(root), "--resume"]
    again = command("sweep", "trial", file, *options)
    with TrialProgress(screen, config.epochs) as progress, stoppable(), interrupted(again, root):
        record = run_single(
            spec, config, root, resume=resume, device=_device(device), on_report=progress.update
        )
    for name, value in record.objectives.items():
        mark = "" if name in names(spec.objectives) else "  (not an objective of this sweep)"
        say(f"{name:<24}{value:>12.4f} ± {record.stderr[name]:.4f}{mark}", screen)
    say(f"\ntrial {record.trial_id}, attempt {record.attempt}; tables: {files_at(root)}", screen)
    if record.status == "failed":
        raise TrialsFailedError(f"the trial failed: {record.error}")
    say(f"next: {command('sweep', 'samples', root, '--trial', record.trial_id)}", screen)


@app.command()
def samples(
    folder: Folder,
    trial: Annotated[str | None, typer.Option(help="Trial (default: the newest checkpoint's).")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Observed modalities, as in m0+m2; or all; or prior (default: the first modality)."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Number of samples, one column each.", min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Fixes the noise.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Image file (default: DIR/samples-TRIAL-SOURCE.png).")
    ] = None,
) -> None:
    """Draw samples from a trial's checkpoint as one image."""
    from sweep.running.samples import choose_checkpoint, draw_samples, source_mask
    from sweep.store.read import open_store

    names = open_store(folder).manifest.modalities
    source = source or names[0]
    mask = source_mask(source, names)
    checkpoint = choose_checkpoint(folder, trial)
    image = out or folder / f"samples-{checkpoint.stem}-{source}.png"
    if image.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--out is {image}, but must end in .png or .jpg")
    if not image.parent.is_dir():
        raise DataError(f"{image.parent} is no folder, so that {image.name} cannot be written there")
    say(draw_samples(checkpoint, mask, n, seed, image))


@app.command("show-config")
def show_config(file: File, override: Overrides = None) -> None:
    """Print a sweep's file with every default filled in, as YAML."""
    import yaml

    from mopoe.config import TrialConfig
    from sweep.config.sweep_spec import load_spec

    spec = load_spec(file, override or ())
    plain = spec.plain()
    fixed = TrialConfig.from_dict(spec.fixed).to_dict()
    plain["fixed"] = {name: value for name, value in fixed.items() if name not in spec.search_space}
    text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110)
    print(masked(text), end="")  # noqa: T201 - the command's answer


for _part in (watch_app, report_app, store_app, cluster_app):
    app.registered_commands += _part.registered_commands


def main() -> None:
    """Run the command line; an error of the project's tree is one sentence and its exit status."""
    adapt_streams()
    try:
        also_import_from(_here())  # data sets and networks of the user's own
        app()
    except MopoeError as error:
        print(f"sweep: {shown(str(error))}", file=sys.stderr)  # noqa: T201 - the message
        sys.exit(error.exit_status)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        raise ConfigError("the folder that sweep was started in is gone; change to another one") from error


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}, but must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no GPU here; possible: cpu")
    return name


if __name__ == "__main__":
    main()
