"""`sweep trial` and `sweep samples`: one trial on this machine, and what its model generates."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mopoe.errors import ConfigError, DataError
from sweep.commands.options import File, Folder, Overrides, option_words
from sweep.commands.terminal import command, console, resume_hint, say
from sweep.errors import TrialsFailedError

if TYPE_CHECKING:
    from sweep.store.records import TrialRecord


def trial(
    file: File,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the trial, as in beta=2.5 (repeatable).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: results/NAME-trials).")] = None,
    *,
    seeds: Annotated[
        int,
        typer.Option(
            help="Train this many seeds, counted up from the trial's own: 0, 1, ... as a sweep's are.",
            min=1,
            max=1000,
        ),
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    override: Overrides = None,
) -> None:
    """Train one trial here, without Ray; settings not given take the middle of the search space.

    With several seeds, those that have completed in the results folder are not trained again.
    """
    from sweep.config.sweep_spec import load_spec, trial_config_for

    spec = load_spec(file, override or ())
    config = trial_config_for(spec, set_ or ())
    root = out or Path("results") / f"{spec.name}-trials"
    from sweep.running.local import last_attempt, run_single
    from sweep.running.progress import TrialProgress
    from sweep.running.signals import stoppable
    from sweep.running.worker import weights_name
    from sweep.store.files import files_at
    from sweep.store.read import open_store

    screen = console()
    given = {"set": set_, "override": override, "out": root, "seeds": seeds if seeds > 1 else None}
    hint = resume_hint(command("sweep", "trial", file, *option_words(given | {"resume": True})), root)
    records = []
    with stoppable(), hint:
        for seed in range(config.seed, config.seed + seeds):
            one = replace(config, seed=seed)
            last = last_attempt(spec, one, root) if seeds > 1 else None
            if last is None or last.status != "completed":
                if seeds > 1:
                    say(f"seed {seed}")
                again = resume and (seeds == 1 or last is not None)
                with TrialProgress(screen, one.epochs) as progress:
                    last = run_single(
                        spec, one, root, resume=again, device=_device(device), on_report=progress.show
                    )
            records.append(last)
            if last.status == "failed":
                break
    record = records[-1]
    if seeds == 1 or record.status != "failed":  # a mean over the seeds that did well would be too good
        _print_objectives(records, {o.name for o in spec.objectives}, spec.evaluation.split)
    say(f"\ntrial {record.trial_id}, attempt {record.attempt}; tables: {files_at(root)}")
    if record.status == "failed":
        raise TrialsFailedError(f"the trial failed: {record.error}")
    say(f"weights: {files_at(root)}/{weights_name(record.trial_id, record.attempt)}")
    images = any(len(shape) == 3 for shape in open_store(root).manifest.shapes.values())
    following = ("samples", root, "--trial", record.trial_id) if images else ("report", root)
    say(f"next: {command('sweep', *following)}")


def _print_objectives(seeds: "Sequence[TrialRecord]", objectives: Collection[str], split: str) -> None:
    """Print what the seeds of a config measured: one with its errors, or the mean and what is beside it."""
    from mopoe.reports import Z_95
    from sweep.analysis.summaries import mean_over_seeds
    from sweep.analysis.uncertainty import FEW_SEEDS

    n = len(seeds)
    if n > 1:
        heads = ("±", "lowest", "highest") if n >= FEW_SEEDS else [f"seed {seed.seed}" for seed in seeds]
        say(f"{'':<24}{'mean':>12}{''.join(f'{head:>12}' for head in heads)}")
    for name in seeds[-1].objectives:
        mark = "" if name in objectives else "  (not an objective of this sweep)"
        values = [seed.objectives[name] for seed in seeds]
        numbers, error = values, ""
        if n >= FEW_SEEDS:
            numbers = [*mean_over_seeds(values), min(values), max(values)]
        elif n > 1:
            numbers = [mean_over_seeds(values)[0], *values]
        elif name in seeds[0].stderr:
            error = f" ± {Z_95 * seeds[0].stderr[name]:.4f}"
        say(f"{name:<24}{''.join(f'{number:>12.4f}' for number in numbers)}{error}{mark}")
    say(f"All are measured on the {split} split.")
    if n >= FEW_SEEDS:
        say(
            f"± is the half width of Student's 95 % interval over these {n} seeds alone; that of `sweep "
            "report` also uses how the seeds of other configs vary."
        )
    elif n > 1:
        say(f"An interval over the seeds needs {FEW_SEEDS} of them or more: --seeds {FEW_SEEDS}.")
    else:
        say("± is the half width of the 95 % interval over held-out samples; another seed is not in it.")


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
