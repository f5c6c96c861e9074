"""The figure for papers."""

import io
from dataclasses import replace

import numpy as np
import pytest

from sweep.analysis.tradeoff import tradeoff
from sweep.report.page import write_report
from sweep.report.paper import front_figure, save_figure
from sweep.store.read import Store
from sweep.store.records import Objective
from sweep.store.write import StoreWriter


@pytest.fixture(scope="module")
def found(made_up_sweep):
    """Give the trade-off of the made-up sweep."""
    return tradeoff(Store(made_up_sweep))


def test_the_figure_draws_the_front_and_the_rest(found):
    """The front's points stand out from the others, its steps run through them; picks are named."""
    axes = front_figure(found).axes[0]
    lines = {container.get_label(): container.lines[0] for container in axes.containers}
    front = found.points.values[found.on_front]
    order = np.argsort(front[:, 0])
    assert np.array_equal(lines["front"].get_xydata(), front[order])
    assert len(lines["dominated"].get_xydata()) == (~found.on_front).sum()
    (steps,) = (line for line in axes.lines if line.get_drawstyle() == "steps-pre")
    assert np.array_equal(steps.get_xydata(), front[order])
    assert "knee" in {text.get_text() for text in axes.texts}


@pytest.mark.parametrize(("kind", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_files_are_of_their_kind_and_reproducible(found, kind, start):
    """Two figures of the same sweep are the same bytes."""
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer in buffers:
        save_figure(front_figure(found), kind, buffer)
    first, second = (buffer.getvalue() for buffer in buffers)
    assert first == second
    assert first.startswith(start)


def test_a_sweep_without_results_has_an_empty_figure(tmp_path, make_manifest):
    """Before the first trial has completed there is nothing to draw, and no error."""
    StoreWriter(tmp_path).write_manifest(make_manifest())
    assert front_figure(tradeoff(Store(tmp_path))).axes[0].containers == []


@pytest.mark.parametrize("names", [("coherence",), ("coherence", "log_likelihood", "cost")])
def test_other_numbers_of_objectives(names, tmp_path, make_manifest, make_record):
    """One objective gives a report without the figure; three give a figure without steps."""
    objectives = tuple(Objective(name=name) for name in names)
    writer = StoreWriter(tmp_path)
    writer.write_manifest(
        replace(make_manifest(), objectives=objectives, reference_point=dict.fromkeys(names, 0.0))
    )
    for k in range(3):
        values = {name: float((k + 1) * (j + 1) % 4) for j, name in enumerate(names)}
        record = make_record(f"t{k}", config_id=f"c{k}", status="completed", objectives=values)
        writer.write_trial(record)
    page = write_report(Store(tmp_path), tmp_path / "out")
    assert page.exists()
    assert (page.parent / "figures" / "front.svg").exists() == (len(names) > 1)
    if len(names) > 1:
        lines = front_figure(tradeoff(Store(tmp_path))).axes[0].lines
        assert not any(line.get_drawstyle() == "steps-pre" for line in lines)
