"""The search spaces that are shipped."""

import math
import re
from dataclasses import replace
from functools import partial
from importlib.resources import files

import pytest
import torch
from official_layouts import noise, write_celeba, write_mnist_svhn, write_polymnist

from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import DATA_SETS
from mopoe.evaluation import classifiers
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
        config = replace(trial_config_for(spec, settings), epochs=1, batch_size=6, channels=(2, 2, 2))
        reports = []
        train(config, data, reports.append)
        assert reports[0].step == 2
        assert math.isfinite(reports[0].loss)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_shown_with_its_defaults(name, sweep, tmp_path):
    """What is shown is itself a file of the same sweep and the same trials."""
    status, shown, errors = sweep("show-config", name)
    assert (status, errors) == (0, "")
    file = tmp_path / "shown.yaml"
    file.write_text(shown, encoding="utf-8")
    assert sweep("show-config", file) == (0, shown, "")
    middles = [trial_config_for(load_spec(either), ()) for either in (file, name)]
    assert middles[0] == middles[1]


def write_polymnist_noise(folder):
    """Write a folder like MMNIST with 60 samples."""
    write_polymnist(folder, noise(40, 0), noise(20, 1))


FILES = {
    "celeba": write_celeba,
    "mnist_svhn_text": partial(write_mnist_svhn, digits=40, houses=40, tests=20),
    "polymnist": write_polymnist_noise,
    "translated_polymnist": write_polymnist_noise,
}
"""Writers of small files in the official layout, by data set."""
SMALLER = (
    *("evaluation.coherence_samples=10", "evaluation.joint_samples=10", "evaluation.likelihood_samples=10"),
    *("evaluation.importance_samples=2", "fixed.batch_size=4", "fixed.channels=[2, 2, 2]"),
)


@pytest.fixture
def settings(name, tmp_path, monkeypatch):
    """Give what makes a dry run small and, for data sets that are read from files, the path of some."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(dry_run, "CORNERS", 2)
    monkeypatch.setattr(classifiers, "ClassifierConfig", partial(classifiers.ClassifierConfig, epochs=1))
    monkeypatch.setattr(classifiers, "TrialConfig", partial(classifiers.TrialConfig, channels=(2, 2, 2)))
    small, data_set = [f"--override={setting}" for setting in SMALLER], load_spec(name).data.name
    if data_set in FILES:
        FILES[data_set](tmp_path / "files")
        return [*small, f"--override=data.path={tmp_path / 'files'}"]
    data = random_data(data_set)
    networks = {m.name: classifiers._network(m, data.n_classes).eval() for m in data.modalities}
    judges = classifiers.Classifiers(networks=networks, accuracy=dict.fromkeys(networks, 1.0), hash="")
    monkeypatch.setattr(dry_run, "load_inputs", lambda _: (data, judges))
    return small


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_tells_the_cost_of_a_shipped_file(name, settings, sweep):
    """On small files in the data set's official layout; the built-in digits are random here."""
    status, printed, errors = sweep("run", name, "--dry-run", *settings)
    assert (status, errors) == (0, "")
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines[2:7]] == ["corner", "corner", "t0000", "t0001", "t0002"]
    trials = load_spec(name).trials * (3 if "digits_" in name else 1)
    assert re.search(rf"^{trials} trials.*: about \d", lines[-1])


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


def test_the_baselines_are_trained_as_the_study_trains():
    """All its configs are listed, each once; what is fixed and how it is evaluated are those of the study."""
    spec, study = load_spec("digits_baselines"), load_spec("digits_methods")
    assert spec.trials == len(spec.start_with) == len({tuple(point.items()) for point in spec.start_with})
    assert dict(study.fixed) == {**spec.fixed, "latent_dim": 64}
    same = ("evaluation", "replicates", "objectives", "reference_point", "data")
    assert [getattr(spec, name) for name in same] == [getattr(study, name) for name in same]
