"""The figure for papers."""

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sweep.analysis.tradeoff import tradeoff
from sweep.config.objectives import Objective
from sweep.report.page import write_report
from sweep.report.paper import front_figure, paper_figures, save_figure
from sweep.report.view import view
from sweep.store.read import Store
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


def test_figures_are_legible_in_print(made_up_sweep):
    """Every text has 8 or 9 points and lies inside its figure, which is as wide as one column or two."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figures = paper_figures(view(Store(made_up_sweep)))
    widths = {name: figure.get_size_inches()[0] for name, figure in figures.items()}
    column, both = dict.fromkeys(("front", "coherence_by_size"), 3.3), pytest.approx(6.8)
    wide = {"front_wide": both, "coherence_by_size_wide": both}
    assert widths == column | wide | {"hyperparameters": pytest.approx(6.8 * 3 / 4)}
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pen = canvas.get_renderer()
        texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        assert {t.get_fontsize() for t in texts} <= {8.0, 9.0}
        inside = figure.bbox.padded(1)
        places = [t.get_window_extent(pen) for axes in figure.axes for t in axes.texts]
        places += [axes.get_legend().get_window_extent(pen) for axes in figure.axes if axes.get_legend()]
        assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in places), name
    panels = figures["hyperparameters"].axes
    assert [a.get_xlabel() for a in panels if a.get_xlabel()] == ["beta", "latent dim", "prior expert"]
    assert [a.get_xscale() for a in panels[:3]] == ["log", "linear", "linear"]
    low, high = panels[3].get_xlim()
    # 1, 2 and 5 of a decade, without what lies between: 0.5 to 8 were tried.
    ticks = [(t.get_position()[0], t.get_text()) for t in panels[3].get_xticklabels()]
    assert [text for at, text in ticks if low <= at <= high] == ["0.5", "1", "2", "5"]
    assert panels[3].get_xticks(minor=True).size == 0


def test_a_crowd_is_drawn_as_one_picture(tmp_path, make_manifest, make_record):
    """Beyond a thousand points a figure has no error bars off the front, and its file stays small."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    objectives = {"conditional_coherence": 0.5, "log_likelihood": -1500.0}
    more = {"status": "completed", "objectives": objectives, "stderr": dict.fromkeys(objectives, 0.1)}
    writer.write_trial(make_record("t0", **more))
    one = tradeoff(Store(tmp_path))
    many = pl.concat([one.configs] * 1200)
    values = np.repeat(one.points.values, 1200, axis=0)
    crowd = replace(
        one,
        configs=many,
        points=replace(one.points, trial_ids=("t0",) * 1200, values=values),
        on_front=np.arange(1200) < 10,
    )
    rest, front = front_figure(crowd).axes[0].containers
    assert (rest.lines[0].get_rasterized(), front.lines[0].get_rasterized()) == (True, False)
    assert not rest.lines[2]
    assert len(front.lines[2]) == 2
