"""Trained models on samples: `sweep evaluate` on another split; `impute`, `embed`, `generate` for users."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mopoe.errors import ConfigError, DataError
from sweep.commands.options import Folder
from sweep.commands.terminal import command, say

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from mopoe.data.units import Units
    from mopoe.trained import TrainedModel
    from sweep.config.schema import DataSpec

Given = Annotated[
    list[Path],
    typer.Option(
        "--from",
        help=".npz: an array of samples by modality; .csv or .parquet: a table's features (repeatable: "
        "joined by subject). Columns beside them, such as ids, are kept.",
    ),
]
Out = Annotated[Path, typer.Option(help="What to write: .npz, or .csv or .parquet of vectors.")]
Chosen = Annotated[str | None, typer.Option("--trial", help="Trial (default: the one that best prints).")]


def evaluate(
    folder: Folder,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    trial: Annotated[str | None, typer.Option(help="Trial (default: all whose weights are kept).")] = None,
    *,
    front: Annotated[
        bool, typer.Option("--front", help="The front's configs alone, with all their seeds.")
    ] = False,
) -> None:
    """Measure kept weights, by default those of the front, on another split; nothing is trained."""
    from sweep.running.held_out import measure_split

    if trial is not None and front:
        raise ConfigError("--trial and --front are both given; leave one out")
    measure_split(folder, split, trial, say, front=front)
    say(f"next: {command('sweep', 'report', folder)}")


def impute(folder: Folder, given: Given, out: Out, trial: Chosen = None) -> None:
    """Write the modalities that files lack, as a trained model imputes them; see docs/models.md."""
    model, told, read = _ready(folder, out, trial)
    samples = read(given)
    found = {
        name: _filled(samples.arrays.get(name), array)
        for name, array in model.impute(samples.arrays, covariates=samples.covariates).items()
    }
    _write(out, found, samples.beside, model, told)


def embed(
    folder: Folder,
    given: Given,
    out: Out,
    trial: Chosen = None,
    *,
    std: Annotated[bool, typer.Option("--std", help="Also write standard deviations.")] = False,
) -> None:
    """Write the latent means of samples, whatever modalities they have, by a trained model."""
    model, told, read = _ready(folder, out, trial)
    samples = read(given)
    z, deviation = model.embed(samples.arrays, covariates=samples.covariates, std=True)
    _write(out, {"z": z, "std": deviation} if std else {"z": z}, samples.beside, model, told)


def generate(
    folder: Folder,
    out: Out,
    n: Annotated[int, typer.Option("--n", help="How many.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Determines them.")] = 0,
    trial: Chosen = None,
) -> None:
    """Write new samples of all modalities, decoded from draws of a trained model's prior."""
    import polars as pl

    model, told, _ = _ready(folder, out, trial)
    if model.covariates:
        raise ConfigError("this model is conditioned on covariates; give them in Python: docs/models.md")
    _write(out, model.generate(n, seed), pl.DataFrame(), model, told)


@dataclass(frozen=True, slots=True)
class _Samples:
    """What files hold for a model."""

    arrays: "Mapping[str, np.ndarray]"
    """The samples by modality; NaN where one is missing."""
    beside: "pl.DataFrame"
    """The other columns, such as ids, a row per sample."""
    covariates: "Mapping[str, pl.Series] | None"
    """Those of the columns on which the model is conditioned, if it is on any."""


def _ready(
    folder: Path, out: Path, trial: str | None
) -> "tuple[TrainedModel, str, Callable[[Sequence[Path]], _Samples]]":
    """Return a trained model, the words on which it is, and what reads a user's samples for it."""
    from sweep.analysis.tradeoff import tradeoff
    from sweep.results import open_results, picked

    if out.suffix not in (".npz", ".csv", ".parquet"):
        raise ConfigError(f"--out is {out}, but must end in .npz, .csv or .parquet")
    results = open_results(folder)
    name, why = (trial, "") if trial else picked(tradeoff(results))
    model = results.model(name)
    return model, f"; by {name}, {why}" if why else "", partial(_read, model, results.spec.data)


def _read(model: "TrainedModel", data: "DataSpec", given: Sequence[Path]) -> _Samples:
    import polars as pl

    from mopoe.data.table_files import read_columns

    tables = all(path.suffix in (".csv", ".parquet") for path in given)
    if len(given) > 1 and not (tables and data.name == "tables"):
        raise ConfigError("--from is given several times, but only .csv and .parquet tables can be joined")
    if tables:
        features = {n: u.spec.features for n, u in model.modalities.items()}
        beside, arrays = read_columns([*map(str, given)], str(data.options.get("id", "")), features)
    else:
        arrays = _arrays(given[0])
        columns = [n for n, a in arrays.items() if a.ndim == 1 and n not in model.modalities]
        known = arrays.keys() & model.modalities.keys()
        beside = pl.DataFrame({name: arrays.pop(name) for name in columns if known})
    for column in (c.name for c in model.covariates):
        if column not in beside.columns:
            where = ", ".join(map(str, given))
            absent = f"{where}: there is no column {column!r}, but the model is conditioned on it"
            raise DataError(f"{absent}; add it to the file, one value a row")
    return _Samples(arrays, beside, {c.name: beside[c.name] for c in model.covariates} or None)


def _write(
    out: Path, found: "Mapping[str, np.ndarray]", beside: "pl.DataFrame", model: "TrainedModel", told: str
) -> None:
    """Write arrays by name, as columns after those beside them unless the file is an .npz one; tell it."""
    import numpy as np
    import polars as pl

    from sweep.store.files import write_atomically

    if out.suffix == ".npz":
        write_atomically(out, lambda file: np.savez_compressed(file, **dict[str, Any](found)))
    elif wide := [name for name, array in found.items() if array.ndim != 2]:
        raise ConfigError(f"{wide[0]} is no vector, so it does not fit {out.name}; write an .npz file")
    else:
        table = pl.concat([beside, _table(found, model.modalities, beside.columns)], how="horizontal")
        write_atomically(out, table.write_csv if out.suffix == ".csv" else table.write_parquet)
    shapes = ", ".join(f"{m} {list(array.shape)}" for m, array in found.items())
    say(f"{out}: {shapes}{told}")


def _filled(given: Any, imputed: Any) -> Any:
    """Return a modality as it was given, with imputed samples where it is NaN; of symbols all are imputed."""
    import numpy as np

    if given is None or given.shape != imputed.shape:
        return imputed
    return np.where(np.isnan(given), imputed, given)


def _table(
    found: "Mapping[str, np.ndarray]", units: "Mapping[str, Units]", taken: Sequence[str]
) -> "pl.DataFrame":
    """Return vectors as columns by their features, after the modality's name where they are not unique."""
    import polars as pl

    features = {
        name: (name in units and units[name].spec.features) or [f"{name}_{i}" for i in range(array.shape[1])]
        for name, array in found.items()
    }
    often = Counter((*taken, *itertools.chain(*features.values())))
    columns = {
        feature if often[feature] == 1 else f"{name}_{feature}": column
        for name, array in found.items()
        for feature, column in zip(features[name], array.T, strict=True)
    }
    return pl.DataFrame(columns)


def _arrays(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of an .npz file by name; DataError if it is none."""
    import zipfile

    import numpy as np

    try:
        with path.open("rb") as file:
            return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file") from error
