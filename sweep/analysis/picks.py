"""The few points of a front that a reader looks at first."""

from dataclasses import dataclass

import numpy as np

from sweep.analysis.fronts import front_mask
from sweep.analysis.points import Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One point of the front, and what it is picked for."""

    label: str
    """`best <objective>` or `knee`."""
    trial_id: str
    """The trial of the point."""
    why: str
    """The reason, as a sentence about the trial that lacks its subject."""


def picks(points: Points) -> tuple[Pick, ...]:
    """Return the best point of each objective and, with two objectives, the knee of the front.

    The knee is the point farthest above the line between the two extremes, after scaling the front to 0..1 in
    each objective. A front of fewer than three points, or one with no point above that line, has none. Of
    equal points the first trial by name is taken. One point may be picked more than once; no points give no
    picks.
    """
    rows = np.flatnonzero(front_mask(points))
    if not rows.size:
        return ()
    rows = rows[np.argsort(np.array([points.trial_ids[i] for i in rows]), kind="stable")]
    names = [points.trial_ids[i] for i in rows]
    gains = points.values[rows] * np.where(points.maximize, 1.0, -1.0)
    found = [
        Pick(
            label=f"best {name}",
            trial_id=names[int(np.argmax(gains[:, column]))],
            why=f"has the {'highest' if points.maximize[column] else 'lowest'} {name}",
        )
        for column, name in enumerate(points.names)
    ]
    spread = np.ptp(gains, axis=0)
    if len(points.names) == 2 and spread.all():
        scaled = (gains - gains.min(axis=0)) / spread
        # The extremes are at (0, 1) and (1, 0), so the line between them is x + y = 1.
        above = (scaled.sum(axis=1) - 1) / np.sqrt(2)
        best = int(np.argmax(above))
        # Rounding may put an extreme a hair above its own line.
        if above[best] > 1e-9:
            why = (
                "is the knee: it lies farthest above the line between the extremes of the front "
                f"({above[best]:.2f} with the front scaled to 0..1)"
            )
            found.append(Pick(label="knee", trial_id=names[best], why=why))
    return tuple(found)
