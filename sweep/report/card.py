"""One card of the report."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One part of the report."""

    title: str
    """Its heading."""
    finding: str
    """What it shows, in plain sentences computed from the data; or why it shows nothing."""
    figure_html: str | None = None
    """HTML to show beneath."""
    table: pl.DataFrame | None = None
    """A table to show beneath; texts and numbers."""
