"""A results folder in a notebook: above its tables its front, its picks and its models."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mopoe.errors import ConfigError
from mopoe.wording import did_you_mean
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.report.formatting import status_line
from sweep.report.summary import nothing_yet
from sweep.report.tables import front_rows, front_text, with_arrows
from sweep.running.samples import choose_checkpoint
from sweep.store.files import Files
from sweep.store.read import Store, open_store

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mopoe.trained import TrainedModel


class Results(Store):
    """The tables of a results folder, its front and its trained models."""

    def front(self) -> pl.DataFrame:
        """Return one row per config on the front, the best in the first objective first.

        Columns are trial_id, config_id, seeds or folds, picks; o_, se_ and ci_ of each objective: its mean
        over these, the standard error and the half width of its 95 % interval; p_ of each searched setting.
        """
        return front_rows(tradeoff(self))

    def best(self, pick: str | None = None) -> pl.DataFrame:
        """Return the row of the front that `sweep best` prints: by default the knee.

        Raises:
            ConfigError: there is no such pick, or no config to pick.
        """
        trade = tradeoff(self)
        return front_rows(trade).filter(trial_id=picked(trade, pick)[0])

    def model(self, trial: str | None = None, *, device: str = "cpu") -> "TrainedModel":
        """Return the trained model of a trial; without a name, of the one that `sweep best` picks.

        Raises:
            StoreError: the trial's weights were not kept, or the folder is an object store.
            ConfigError: there is no config to pick.
        """
        from mopoe.trained import load

        name = trial or picked(tradeoff(self))[0]
        return load(choose_checkpoint(Path(self.files.address), name), device=device)

    def plot_front(self, first: str | None = None, second: str | None = None) -> "Figure":
        """Return the report's plot of all configs and the front as a Plotly figure.

        Args:
            first: the objective of the horizontal axis; by default the sweep's first.
            second: the objective of the vertical axis; by default the sweep's first other one.

        Raises:
            ConfigError: there are no two such objectives, or no config has completed yet.
        """
        from sweep.report.figures import front_plot

        trade = tradeoff(self)
        objectives = {o.name: o for o in trade.points.objectives}
        for name in (first, second):
            if name is not None and name not in objectives:
                raise ConfigError(f"there is no objective {name!r}; {did_you_mean(name, objectives)}")
        first = first or next(name for name in (*objectives, "") if name != second)
        second = second or next(name for name in (*objectives, "") if name != first)
        if not (first and second) or first == second:
            raise ConfigError(f"a front is plotted in two objectives; possible: {', '.join(objectives)}")
        if not trade.configs.height:
            why = nothing_yet(trade)
            raise ConfigError(f"there is no front to plot: {why[0].lower()}{why[1:-1]}")
        return front_plot(trade, objectives[first], objectives[second])

    def _repr_html_(self) -> str:
        """Return the front as a notebook shows it."""
        from sweep.report.page import table_html

        trade = tradeoff(self)
        if not trade.configs.height:
            return f"<p>{nothing_yet(trade)}</p>"
        front = with_arrows(front_text(front_rows(trade)), trade.points.objectives)
        return f"<p>{status_line(trade.trials)}</p>{table_html(front, 'front')}"


def open_results(root: str | Path | Files) -> Results:
    """Return a results folder, or that at an address such as s3://BUCKET/FOLDER.

    Raises:
        StoreError: the folder is missing or holds no readable `sweep.json`.
    """
    return Results(open_store(root).files)


open = open_results  # noqa: A001 - `sweep.open` reads like gzip.open


def picked(front: Tradeoff, wanted: str | None = None) -> tuple[str, str]:
    """Return the picked trial and what it is.

    By default it is the knee, or the best in the first objective if the front has no knee.

    Raises:
        ConfigError: there is no such pick.
    """
    picks = {p.label.removeprefix("best "): p for p in front.picks}
    if not picks:
        why = nothing_yet(front)
        raise ConfigError(f"there is no config to pick: {why[0].lower()}{why[1:-1]}")
    no_knee = not wanted and len(front.points.names) == 2 and "knee" not in picks
    wanted = wanted or ("knee" if "knee" in picks else next(iter(picks)))
    if wanted not in picks:
        absent = "the front has no knee" if wanted == "knee" else f"there is no pick {wanted!r}"
        raise ConfigError(f"{absent}; {did_you_mean(wanted, picks)}")
    why = f"the {picks[wanted].label.replace('_', ' ')}"
    if no_knee:
        why += f", as the front of {front.on_front.sum()} has no knee"
    return picks[wanted].trial_id, why
