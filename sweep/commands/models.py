"""`sweep evaluate` and `sweep impute`: trained models on another split, and on a user's own samples."""

from pathlib import Path
from typing import Annotated

import typer

from mopoe.errors import ConfigError, DataError
from sweep.commands.options import Folder
from sweep.commands.terminal import command, say


def evaluate(
    folder: Folder,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    trial: Annotated[str | None, typer.Option(help="Trial (default: all whose weights are kept).")] = None,
) -> None:
    """Measure kept weights, by default those of the front, on another split; nothing is trained."""
    from sweep.running.held_out import measure_split

    measure_split(folder, split, trial, say)
    say(f"next: {command('sweep', 'report', folder)}")


def impute(
    folder: Folder,
    given: Annotated[Path, typer.Option("--from", help="An .npz file: an array of samples by modality.")],
    out: Annotated[Path, typer.Option(help="What to write: .npz, or .csv or .parquet of vectors.")],
    trial: Annotated[str | None, typer.Option(help="Trial (default: the one that best prints).")] = None,
) -> None:
    """Write what a trained model makes of the modalities that a file lacks; see docs/models.md."""
    import zipfile

    import numpy as np
    import polars as pl

    from sweep.results import open_results
    from sweep.store.files import write_atomically

    if out.suffix not in (".npz", ".csv", ".parquet"):
        raise ConfigError(f"--out is {out}, but must end in .npz, .csv or .parquet")
    try:
        with given.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{given}: not a readable .npz file") from error
    found = open_results(folder).model(trial).impute(arrays)
    if out.suffix == ".npz":
        write_atomically(out, lambda file: np.savez_compressed(file, **found))
    elif wide := [name for name, array in found.items() if array.ndim != 2]:
        raise ConfigError(f"{wide[0]} is no vector, so it does not fit {out.name}; write an .npz file")
    else:
        table = pl.DataFrame({f"{n}_{i}": column for n, a in found.items() for i, column in enumerate(a.T)})
        write_atomically(out, table.write_csv if out.suffix == ".csv" else table.write_parquet)
    say(f"{out}: {', '.join(f'{name} {list(array.shape)}' for name, array in found.items())}")
