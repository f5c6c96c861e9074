"""The search spaces that are shipped."""

import math
from dataclasses import replace
from importlib.resources import files

import pytest
import torch

from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import DATA_SETS
from mopoe.training import train
from sweep.config.sweep_spec import load_spec, trial_config_for

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


def test_the_methods_are_compared_on_a_grid():
    """Every method with every beta and three seeds, so that a sweep has them all."""
    spec = load_spec("digits_methods")
    axes = [spec.search_space[name].values for name in ("method", "beta")]
    assert spec.trials == math.prod(map(len, axes))
    assert (spec.sampler, spec.replicates.seeds, spec.replicates.when) == ("grid", 3, "all")
