"""The front as a figure for papers, by matplotlib: one column wide, legible in print."""

from typing import TYPE_CHECKING, BinaryIO

from sweep.analysis.tradeoff import Tradeoff
from sweep.report.theme import FRONT
from sweep.report.words import plain
from sweep.store.schema import OBJECTIVE, STDERR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_INCHES = 4.2
"""Width of the figure; a column of most venues is 3.3 to 5.5 inches wide."""


def front_figure(found: Tradeoff) -> "Figure":
    """Return the configs in the plane of the first two objectives, the front as steps, the picks named.

    The steps bound what the front dominates when both objectives are maximised; a front of three or more
    objectives has none in a plane.

    Raises:
        ValueError: the sweep has a single objective, hence no plane.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(COLUMN_INCHES, COLUMN_INCHES * 0.68), layout="constrained")
    axes = figure.add_subplot()
    x, y = (objective.name for objective in found.manifest.objectives[:2])
    for on_front, colour, label in ((False, "0.6", "dominated"), (True, FRONT, "front")):
        rows = found.configs.filter(found.on_front == on_front).sort(OBJECTIVE + x)
        if rows.height:
            axes.errorbar(
                rows[OBJECTIVE + x],
                rows[OBJECTIVE + y],
                xerr=rows[STDERR + x].fill_null(0.0),
                yerr=rows[STDERR + y].fill_null(0.0),
                fmt="o",
                color=colour,
                elinewidth=0.6,
                markersize=4,
                label=label,
                zorder=3 if on_front else 2,
            )
            if on_front and len(found.manifest.objectives) == 2:
                axes.step(rows[OBJECTIVE + x], rows[OBJECTIVE + y], where="pre", color=colour, linewidth=1.2)
    labels: dict[int, list[str]] = {}
    for pick in found.picks:
        row = found.points.trial_ids.index(pick.trial_id)
        labels.setdefault(row, []).append(plain(pick.label).replace(" ", "\n", 1))
    for row, words in labels.items():
        # Above and to the right of a front there is nothing to cover.
        axes.annotate(
            "\n".join(words),
            found.points.values[row, :2].tolist(),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=7,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=4,
        )
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y) + (" (nats)" if y == "log_likelihood" else ""))
    axes.margins(0.12)
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 0.12 * (right - left))  # room for the last label
    axes.spines[["top", "right"]].set_visible(False)
    if found.configs.height:
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def save_figure(figure: "Figure", kind: str, file: BinaryIO) -> None:
    """Write a figure as a "pdf", "svg" or "png"; equal figures give equal files."""
    from matplotlib import rc_context

    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "sweep", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(file, format=kind, metadata=undated, dpi=200)
