"""The search spaces that are shipped."""

from importlib.resources import files

import pytest

from sweep.config.sweep_spec import load_spec

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
