"""Replays searches on a table of recorded learning curves: what `search.py` and its peer have in common.

Imports little, so that it also runs in the environment of a peer. A suggestion is a point of the table's
grid; what it reports is looked up. Simulated workers train one epoch each in turn; an epoch costs one.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import moocore
import numpy as np
import polars as pl

TABLE = Path(__file__).parent / "curves" / "digits_grid.parquet"
OBJECTIVES = ("conditional_coherence", "log_likelihood")
CORNER = (0.1, -7500.0)
WORKERS = 4

Point = Mapping[str, float]
Vector = tuple[float, ...]


class Search(Protocol):
    """What is replayed."""

    def suggest(self, name: str) -> Point | None:
        """Return the point of a new trial, or None if there is none now.

        A trial that goes on where a stopped one ended has the epochs of that one as `epoch`.
        """

    def goes_on(self, name: str, epoch: int, vector: Vector) -> bool:
        """Return whether a trial goes on that reports this."""

    def ended(self, name: str, epoch: int, vector: Vector) -> None:
        """Hear how a trial ended: at its last epoch, or where it was stopped."""


@dataclass(frozen=True)
class Curves:
    """The recorded curves."""

    axes: dict[str, list[float]]
    """The grid's values by parameter."""
    vectors: dict[tuple[float, ...], list[Vector]]
    """The objectives after every epoch, by point in the order of the axes."""
    recorded: int
    """Points that were recorded; any other has the curve of a recorded one, the fewest grid steps away."""

    @property
    def budget(self) -> int:
        """Return the epochs of a whole trial."""
        return len(next(iter(self.vectors.values())))

    @property
    def volume(self) -> float:
        """Return the hypervolume of the front of all trials in full."""
        return volume([curve[-1] for curve in self.vectors.values()])


def read_curves(path: Path = TABLE) -> Curves:
    """Return the recorded curves of a table."""
    table = pl.read_parquet(path).sort("epoch")
    names = table.columns[: table.columns.index("epoch")]
    vectors: dict[tuple[float, ...], list[Vector]] = {}
    for row in table.select(*names, *OBJECTIVES).iter_rows():
        vectors.setdefault(row[: len(names)], []).append(row[len(names) :])
    axes = {name: sorted(set(table[name])) for name in names}

    def steps(a: tuple[float, ...], b: tuple[float, ...]) -> int:
        return sum(abs(v.index(x) - v.index(y)) for v, x, y in zip(axes.values(), a, b, strict=True))

    grid = itertools.product(*axes.values())
    whole = {point: vectors[min(vectors, key=lambda other: steps(point, other))] for point in grid}
    return Curves(axes, whole, len(vectors))


def volume(vectors: Sequence[Vector]) -> float:
    """Return the hypervolume of the front of these trials."""
    return float(moocore.hypervolume(np.array(vectors), ref=CORNER, maximise=True))


def replay(search: Search, curves: Curves, shares: Sequence[float]) -> list[float]:
    """Return the epochs until the front of completed trials has these shares of the hypervolume of all.

    Infinity where a search has not come there after as many epochs as all trials have, or has ended.
    """
    goals = [share * curves.volume for share in shares]
    reached = [np.inf] * len(shares)
    limit = len(curves.vectors) * curves.budget
    running: dict[str, tuple[list[Vector], int]] = {}
    completed: list[Vector] = []
    begun = spent = 0
    while spent < limit and not np.isfinite(reached).all():
        while len(running) < WORKERS and (point := search.suggest(f"w{begun}")) is not None:
            curve = curves.vectors[tuple(point[axis] for axis in curves.axes)]
            running[f"w{begun}"] = curve, int(point.get("epoch", 0))
            begun += 1
        if not running:
            break
        for name, (curve, before) in list(running.items()):
            epoch, vector = before + 1, curve[before]
            spent += 1
            if search.goes_on(name, epoch, vector) and epoch < len(curve):
                running[name] = curve, epoch
                continue
            del running[name]
            search.ended(name, epoch, vector)
            if epoch == len(curve):
                completed.append(vector)
                found = volume(completed)
                reached = [min(r, spent) if found >= g else r for r, g in zip(reached, goals, strict=True)]
    return reached
