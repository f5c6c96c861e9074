"""`sweep trial` and `sweep samples`: one trial on this machine, and what its model generates."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError, DataError
from sweep.commands.options import File, Folder, Overrides, option_words
from sweep.commands.terminal import command, console, resume_hint, say
from sweep.errors import TrialsFailedError


def trial(
    file: File,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the trial, as in beta=2.5 (repeatable).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: results/NAME-trials).")] = None,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    override: Overrides = None,
) -> None:
    """Train one trial here, without Ray; settings not given take the middle of the search space."""
    from mopoe.reports import Z_95
    from sweep.config.sweep_spec import load_spec, trial_config_for

    spec = load_spec(file, override or ())
    config = trial_config_for(spec, set_ or ())
    root = out or Path("results") / f"{spec.name}-trials"
    from sweep.running.local import run_single
    from sweep.running.progress import TrialProgress
    from sweep.running.signals import stoppable
    from sweep.store.files import files_at

    screen = console()
    words = option_words({"set": set_, "override": override, "out": root, "resume": True})
    hint = resume_hint(command("sweep", "trial", file, *words), root)
    with TrialProgress(screen, config.epochs) as progress, stoppable(), hint:
        record = run_single(
            spec, config, root, resume=resume, device=_device(device), on_report=progress.show
        )
    for name, value in record.objectives.items():
        mark = "" if name in {o.name for o in spec.objectives} else "  (not an objective of this sweep)"
        error = f" ± {Z_95 * record.stderr[name]:.4f}" if name in record.stderr else ""
        say(f"{name:<24}{value:>12.4f}{error}{mark}")
    say("± is the half width of the 95 % interval over held-out samples; another seed is not in it.")
    say(f"\ntrial {record.trial_id}, attempt {record.attempt}; tables: {files_at(root)}")
    if record.status == "failed":
        raise TrialsFailedError(f"the trial failed: {record.error}")
    say(f"next: {command('sweep', 'samples', root, '--trial', record.trial_id)}")


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}, but must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is 'cuda', but torch finds no GPU here; possible: cpu")
    return name


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
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Image file (default: DIR/samples-TRIAL-SOURCE.png).")
    ] = None,
) -> None:
    """Draw samples from a trial's checkpoint as one image."""
    from sweep.running.samples import choose_checkpoint, draw_samples, source_mask
    from sweep.store.read import open_store

    store = open_store(folder)
    names = store.manifest.modalities
    source = source or names[0]
    mask = source_mask(source, names)
    checkpoint = choose_checkpoint(folder, trial)
    image = out or folder / f"samples-{checkpoint.stem}-{source}.png"
    if image.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--out is {image}, but must end in .png or .jpg")
    if not image.parent.is_dir():
        raise DataError(f"{image} cannot be written: {image.parent} is not a folder")
    say(draw_samples(checkpoint, mask, n, seed, image, store.spec.replicates.folds))
