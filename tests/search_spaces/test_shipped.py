"""The search spaces that are shipped."""

import io
import math
import re
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from rich.console import Console

from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import DATA_SETS
from mopoe.evaluation.classifiers import Classifiers, _network
from mopoe.training import train
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.running import dry_run

NAMES = sorted(path.name for path in files("search_spaces").iterdir() if path.name.endswith(".yaml"))


def test_the_demo_is_shipped():
    """A plain installation can run it by name."""
    assert "digits.yaml" in NAMES


def test_the_papers_setting_is_shipped():
    """Its constants are the published ones, and its search space has the published values inside."""
    spec = load_spec("polymnist")
    assert spec.data.options == {"path": "data/MMNIST", "seed": 0}
    assert spec.fixed["epochs"] == 300
    assert spec.fixed["channels"] == (32, 64, 128)
    assert spec.fixed["batch_size"] == 256
    for name, published in (("beta", 2.5), ("lr", 5e-4)):
        assert spec.search_space[name].low < published < spec.search_space[name].high
    assert 512 in spec.search_space["latent_dim"].values


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_valid_and_says_what_it_costs(name):
    """It loads, and its head names the command, the cost and what to expect."""
    assert load_spec(name).name == name.removesuffix(".yaml")
    head = files("search_spaces").joinpath(name).read_text(encoding="utf-8").split("name:")[0]
    for word in ("command", "cost", "expect"):
        assert f"#   {word}" in head


def random_data(name: str) -> MultimodalData:
    """Return twelve samples of random pixels and characters in the shapes of a data set."""
    rng = torch.Generator().manual_seed(0)
    specs = DATA_SETS[name].modalities
    kinds = {3: (256, torch.uint8), 1: (71, torch.int8)}  # images, and texts
    x = {}
    for m in specs:
        symbols, dtype = kinds[len(m.shape)]
        x[m.name] = torch.randint(symbols, (12, *m.shape), generator=rng, dtype=dtype)
    split = Split(x, torch.arange(12) % 10)
    return MultimodalData(
        name=name,
        options={},
        fingerprint="",
        modalities=specs,
        n_classes=10,
        train=split,
        validation=split,
        test=split,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_method_of_a_shipped_file_trains(name):
    """The middle of its space takes some steps with each method that it searches; its lists fit the data."""
    spec = load_spec(name)
    data = random_data(spec.data.name)
    searched = spec.search_space.get("method")
    for method in searched.values if searched else [spec.fixed.get("method", "mopoe")]:
        settings = [f"method={method}"] if searched else []
        config = replace(trial_config_for(spec, settings), epochs=1, batch_size=6)
        reports = []
        train(config, data, reports.append)
        assert reports[0].step == 2
        assert math.isfinite(reports[0].loss)


SMALLER = (
    *("evaluation.coherence_samples=10", "evaluation.joint_samples=10", "evaluation.likelihood_samples=10"),
    *("evaluation.importance_samples=2", "fixed.batch_size=4", "fixed.channels=[2, 2, 2]"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_tells_the_cost_of_a_shipped_file(name, monkeypatch):
    """It is the command's, but for data and classifiers, which are random and of the same shapes."""
    spec = load_spec(name, SMALLER)
    data = random_data(spec.data.name)
    networks = {m.name: _network(m, data.n_classes).eval() for m in data.modalities}
    inputs = data, Classifiers(networks=networks, accuracy=dict.fromkeys(networks, 1.0), hash="")
    monkeypatch.setattr(dry_run, "load_inputs", lambda _: inputs)
    monkeypatch.setattr(dry_run, "CORNERS", 2)
    printed = io.StringIO()
    dry_run.print_costs(spec, Console(file=printed, width=200))
    lines = printed.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["corner", "corner", "t0000", "t0001", "t0002"]
    assert re.search(rf"^{spec.trials * (3 if 'digits_' in name else 1)} trials.*: about \d", lines[-1])


@pytest.mark.parametrize(
    ("name", "searched"),
    [("digits_methods", ("method", "beta")), ("digits_weights", ("beta", "latent_dim", "subset_weights"))],
)
def test_the_studies_are_whole_grids(name, searched):
    """Every combination with three seeds, so that a sweep has them all."""
    spec = load_spec(name)
    axes = [spec.search_space[name].values for name in searched]
    assert spec.trials == math.prod(map(len, axes))
    assert (spec.sampler, spec.replicates.seeds, spec.replicates.when) == ("grid", 3, "all")
