"""Writes `docs/tables.md` from the schemas, as `python -m sweep.store.reference`."""

from pathlib import Path

from sweep.store.layout import KEYS
from sweep.store.schema import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"

_HEAD = """# Tables

Written by `python -m sweep.store.reference` from the schemas; change those, not this page.

A results folder has a folder of Parquet files per table. Null means not measured; NaN means measured and not a
number. Times are UTC. Rows have no order. `sweep.open` returns one row per key; the files themselves may hold a
row twice. The columns below are followed by those that depend on the sweep: `p_NAME`, a searched setting
(trials); `o_NAME`, an objective (trials, epochs); `se_NAME`, its standard error (trials);
`reconstruction_NAME`, the negative log-likelihood of a modality (epochs).
"""


def page() -> str:
    """Return the page: a section per table, a line per column."""
    lines = [_HEAD]
    for name, schema in TABLES.items():
        lines += [
            f"## {name}\n\nKey: {', '.join(KEYS[name])}.\n",
            "| column | type | unit | meaning |",
            "|---" * 4 + "|",
        ]
        for column in schema:
            told = {key.decode(): value.decode() for key, value in column.metadata.items()}
            lines.append(
                f"| {column.name} | {column.type} | {told.get('unit', '')} | {told['description']} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
