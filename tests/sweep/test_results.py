"""The notebook's way in, as the README and the page on models show it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mopoe
import sweep
from mopoe.errors import ConfigError
from sweep.errors import StoreError
from sweep.running.samples import choose_checkpoint
from sweep.store.write import StoreWriter

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_a_folder_by_name_gives_lazy_tables(made_up_sweep):
    """`sweep.open` takes a string, and its tables filter as the README says."""
    store = sweep.open(str(made_up_sweep))
    done = store.trials().filter(status="completed").collect()
    assert set(done["status"]) == {"completed"}
    assert store.manifest.objectives[0].name == "conditional_coherence"


@pytest.fixture
def run_command(request):
    """Run a command in this process, under a name that the module does not take."""
    return request.getfixturevalue("sweep")


def test_the_front_and_the_best_are_those_of_the_commands(made_up_sweep, run_command):
    """The best is the front's row of the knee, or of a named pick; a wrong one is a sentence."""
    store = sweep.open(made_up_sweep)
    front, best = store.front(), store.best()
    assert best.height == 1
    assert run_command("best", made_up_sweep)[1].startswith(f"# {best['trial_id'][0]} of ")
    assert best.equals(front.filter(pl.col("picks").str.contains("knee")))
    other = store.best("log_likelihood")
    assert other["o_log_likelihood"][0] == front["o_log_likelihood"].max()
    with pytest.raises(ConfigError, match=r"there is no pick 'kne'; did you mean 'knee'\?"):
        store.best("kne")


def test_a_notebook_shows_the_front(made_up_sweep):
    """As a table with a row per config on it, below the state of the sweep."""
    store = sweep.open(made_up_sweep)
    html = store._repr_html_()
    assert html.startswith("<p>")
    assert html.count("<tr") == 1 + store.front().height
    assert all(trial in html for trial in store.front()["trial_id"])


def test_the_plotted_front_is_the_pages(made_up_sweep, tmp_path):
    """Trace by trace, in any two objectives; without torch and Ray; anything else is a sentence."""
    import plotly.io

    from sweep.report.figures import front_figures
    from sweep.report.view import view

    store = sweep.open(made_up_sweep)
    figure = store.plot_front()
    on_page = re.search("<script [^>]*>(.*?)</script>", front_figures(view(store)))
    assert json.loads(on_page[1])["data"] == json.loads(plotly.io.to_json(figure))["data"]
    others, front, *_ = figure.data
    assert sorted(front.customdata) == sorted(store.front()["trial_id"])
    best = store.front()[0]
    assert (front.x[-1], front.y[-1]) == (best["o_conditional_coherence"][0], best["o_log_likelihood"][0])
    assert len(others.x) + len(front.x) == 7
    assert figure.layout.xaxis.title.text == "conditional coherence, higher is better"
    turned = store.plot_front(second="conditional_coherence")
    assert turned.layout.xaxis.title.text == "log likelihood (nats), higher is better"
    with pytest.raises(ConfigError, match=r"^there is no objective 'log_likelhood'; did you mean 'log_likel"):
        store.plot_front("log_likelhood")
    with pytest.raises(ConfigError, match=r"^a front is plotted in two objectives; possible: conditional_c"):
        store.plot_front("log_likelihood", "log_likelihood")
    StoreWriter(tmp_path / "new").write_manifest(store.manifest)
    with pytest.raises(ConfigError, match=r"^there is no front to plot: no trial has completed with finite"):
        sweep.open(tmp_path / "new").plot_front()
    code = "import sys; sys.modules.update(torch=None, ray=None); import sweep; sweep.open(sys.argv[1])"
    subprocess.run([sys.executable, "-c", f"{code}.plot_front()", str(made_up_sweep)], check=True)


def test_the_model_is_that_of_the_pick_or_of_a_trial(trained_folder):
    """Without a name of the config that `sweep best` prints; of a trial without weights it is a sentence."""
    store = sweep.open(str(trained_folder))
    trials = store.latest_trials().collect()["trial_id"].to_list()
    x = {"m0": np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28), dtype=np.uint8)}
    found = {trial: store.model(trial).embed(x) for trial in trials}
    for trial, z in found.items():
        np.testing.assert_array_equal(mopoe.load(choose_checkpoint(trained_folder, trial)).embed(x), z)
    np.testing.assert_array_equal(store.model().embed(x), found[store.best()["trial_id"][0]])
    assert not np.array_equal(*found.values())
    with pytest.raises(StoreError, match="holds no checkpoint of trial 't0004'"):
        store.model("t0004")


def test_the_pages_examples_run(trained_folder, tmp_path, monkeypatch, run_command):
    """Its Python as it stands there, then its commands in order, in the folder that holds the results."""
    shutil.copytree(trained_folder.parents[1], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    shapes = {name: names[name].shape for name in ("z", "std", "images", "draws")}
    assert shapes == {"z": (100, 4), "std": (100, 4), "images": (100, 3, 28, 28), "draws": (10, 5, 3, 28, 28)}
    np.savez("given.npz", **names["x"])
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in commands.splitlines():
        status, _, err = run_command(*line.split()[1:])
        assert (status, err) == (0, ""), line
    imputed = np.load("imputed.npz")
    assert sorted(imputed) == ["m2", "m3", "m4"]
    np.testing.assert_array_equal(imputed["m2"], names["images"])
