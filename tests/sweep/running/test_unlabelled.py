"""A sweep on data without labels: trained, measured, reported and verified; what needs labels is refused."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mopoe.data import _own
from mopoe.quantities import KINDS
from mopoe.reports import NEED_LABELS
from sweep.running.shared_inputs import _loaded
from sweep.store.read import open_store

Sweep = Callable[..., tuple[int, str, str]]

MODULE = """
import numpy as np
import mopoe

@mopoe.plugin
def load(n: int):
    x = np.random.default_rng(0).integers(0, 256, (n, 3, 28, 28), np.uint8)
    return mopoe.data_from_arrays({"a": x, "b": x[:, :1]})
"""
FILE = """\
name: blind
data: {name: "unlabelled:load", n: 80}
trials: 2
sampler: random
objectives: [log_likelihood]
reference_point: {log_likelihood: -20000}
search_space: {beta: {type: uniform, low: 0.1, high: 4}}
fixed: {epochs: 2, batch_size: 40, latent_dim: 2, channels: [2, 2, 2]}
evaluation: {every: 1, likelihood_samples: 4, importance_samples: 6, pictures: 2,
             final_metrics: [conditional_likelihood]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with the data set's module and the sweep's file, in which Ray was not started."""
    (tmp_path / "unlabelled.py").write_text(MODULE)
    (tmp_path / "blind.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    _own.cache_clear()
    _loaded.cache_clear()


@pytest.mark.ray
def test_a_sweep_without_labels_runs_is_reported_and_sound(
    sweep: Sweep, shared_ray: list[str], folder: Path
) -> None:
    """Likelihoods, KLs and pictures are there; no table, card or word of the page is about coherence."""
    status, out, err = sweep("run", "blind.yaml", "-o", "resources.concurrent=1")
    assert status == 0, err
    sizes = "data set 'unlabelled:load': 64 training, 8 validation and 8 test samples"
    assert out.startswith(f"loading data set 'unlabelled:load'\n{sizes}\nstarting Ray\n")
    store = open_store(folder / "results" / "blind")
    trials = store.latest_trials().collect()
    assert trials["status"].to_list() == ["completed"] * 2
    assert trials["o_log_likelihood"].is_finite().all()
    assert trials["o_joint_coherence"].null_count() == 2
    metrics = set(store.subset_metrics().collect()["metric"])
    assert {"kl", "nll", "explained", "ess", "log_likelihood_conditional"} <= metrics
    assert not {"coherence", "joint_coherence"} & metrics
    assert set(store.samples().collect()["target"]) == {"a", "b"}
    assert not any(map(store.files.list, ("pair_coherence", "classifiers")))
    assert (store.manifest.n_classes, store.manifest.classifier_hash) == (0, None)
    assert sweep("verify", "results/blind")[0] == 0
    assert sweep("report", "results/blind")[0] == 0
    page = (folder / "results/blind/report/report.html").read_text()
    said = re.sub(r"<(script|style)\b.*?</\1>|<pre>.*?</pre>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "oherence" not in said
    assert "classifier" not in said
    assert "Samples of the picks" in said
    assert sweep("best", "results/blind")[0] == 0
    assert sweep("resume", "results/blind")[0] == 0


@pytest.mark.parametrize("name", [*NEED_LABELS[:6], "coherence.1"])
@pytest.mark.parametrize("command", ["run", "trial", "dry-run"])
def test_what_needs_labels_is_refused_before_the_first_trial(
    sweep: Sweep, folder: Path, name: str, command: str
) -> None:
    """One sentence with the reason and what is possible."""
    over = [f"evaluation.final_metrics=[{name}]"]
    if "coherence" in name:
        over = [f"objectives=[{name}]", f"reference_point={{{name}: 0}}"]
    words = ["run", "blind.yaml", "--dry-run"] if command == "dry-run" else [command, "blind.yaml"]
    status, _, err = sweep(*words, *(word for o in over for word in ("-o", o)))
    possible = ", ".join(known for known in KINDS if known not in NEED_LABELS)
    assert status == 2
    assert err == (
        f"sweep: the sweep asks for {name}, which compares with labels, but the data set has none; without "
        f"labels objectives may be: {possible}; and final_metrics: conditional_likelihood, fid\n"
    )
    assert not list(folder.glob("results/*/trials/*"))


@pytest.mark.usefixtures("folder")
def test_a_limit_on_coherence_needs_labels_too(sweep: Sweep) -> None:
    """Constraints are refused as objectives are."""
    status, _, err = sweep("run", "blind.yaml", "-o", 'constraints={joint_coherence: ">= 0.1"}')
    assert (status, "the sweep asks for joint_coherence" in err) == (2, True)
