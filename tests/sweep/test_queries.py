"""The queries of `docs/queries.md` run as they stand there, and SQL and Polars give one answer."""

import ast
import re
import shutil
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from sweep.store.maintenance import compact
from sweep.store.read import Store

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed; the dev extra has it")

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8").replace("t0003", "t03")
"""Trials of the sweep that the tests made up have short names."""
BLOCKS = re.compile(r"```(sql|python)\n(.*?)```", re.DOTALL)


def questions():
    """Return title, SQL and Python of every question."""
    for section in PAGE.split("\n## ")[1:]:
        (first, sql), (second, code) = BLOCKS.findall(section)
        assert (first, second) == ("sql", "python")
        yield section.partition("\n")[0], sql, code


@pytest.fixture(scope="module", params=["as written", "compacted"])
def folder(request, tmp_path_factory, made_up_sweep):
    """A folder with results/digits in it."""
    root = tmp_path_factory.mktemp("queries") / "results" / "digits"
    shutil.copytree(made_up_sweep, root)
    if request.param == "compacted":
        compact(Store(root))
    return root.parents[1]


@pytest.mark.parametrize(("title", "sql", "code"), [pytest.param(*q, id=q[0]) for q in questions()])
def test_sql_and_polars_agree(folder, monkeypatch, title, sql, code):
    """Both run as printed, find something, and find the same."""
    monkeypatch.chdir(folder)
    (_, setup), (_, views) = BLOCKS.findall(PAGE.split("\n## ")[0])
    names: dict[str, object] = {}
    exec(setup, names)
    with duckdb.connect() as connection:
        connection.execute(views)
        left = connection.sql(sql).pl()
    right = eval(compile(ast.parse(code.strip(), mode="eval"), title, "eval"), names)
    assert right.height > 0
    assert_frame_equal(left, right, check_row_order=False, check_dtypes=False)
