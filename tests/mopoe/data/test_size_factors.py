"""Counts whose means are given a row's total: what tables store, and what trained models make of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import mopoe
from mopoe.data import _own, load_data
from mopoe.data.container import MultimodalData
from mopoe.data.folds import fold
from mopoe.data.units import kinds
from mopoe.errors import MopoeError
from mopoe.evaluation.classifiers import ClassifierConfig, load_classifiers
from mopoe.trained import TrainedModel

N = 90
CONFIG = mopoe.TrialConfig(
    latent_dim=2, epochs=4, batch_size=16, lr=5e-3, initialisation="he", hidden_widths=(16,)
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with a table of numbers and one of counts, whose totals vary a hundredfold."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    z, depth = rng.normal(size=(N, 1)), np.exp(rng.normal(size=(N, 1)))
    counts = rng.poisson(depth * 20 * np.exp(0.7 * z * [[1, -1, 0, 0.5]]))
    counts[:3] = 0
    ids = {"id": range(N), "kind": np.where(z[:, 0] > 0, "up", "down")}
    pl.DataFrame(ids | {f"x{i}": c for i, c in enumerate((z + rng.normal(size=(N, 2))).T)}).write_csv("x.csv")
    pl.DataFrame(ids | {f"n{i}": c for i, c in enumerate(counts.T)}).head(-9).write_csv("n.csv")
    yield
    _own.cache_clear()


def load(kind: str = "poisson", **options: Any) -> MultimodalData:
    """Load both tables with a size factor."""
    given = {"modalities": {"x": "x.csv", "n": "n.csv"}, "likelihoods": {"n": kind}, "labels": "kind"}
    return load_data("tables", **given | {"size_factors": ["n"]} | options)


def check_total(data: MultimodalData) -> None:
    """Check the median of the totals of the training rows that are there and have counts."""
    assert data.train.present is not None
    totals = data.train.x["n"][data.train.present[:, 1]].sum(1)
    assert data.modalities[1].median_total == pytest.approx(float(np.median(totals[totals > 0])))


def test_the_median_total_is_that_of_the_training_rows() -> None:
    """Rows without counts and missing rows leave it alone; each fold has its own; numbers have none."""
    data = load()
    check_total(data)
    for number in range(3):
        check_total(fold(data, number, 3))
    plain = load(size_factors=[])
    assert [m.median_total for m in plain.modalities] == [0, 0]
    assert data.modalities[0] == plain.modalities[0]
    assert torch.equal(plain.train.x["n"], data.train.x["n"])
    assert plain.fingerprint != data.fingerprint  # so that no command compares their likelihoods
    assert "size_factors" not in plain.options
    plain = replace(plain, fingerprint=data.fingerprint)
    judges = [load_classifiers(d, ClassifierConfig(epochs=1)).hash for d in (data, plain)]
    assert judges[0] != judges[1]  # the classifier of counts reads them without their total


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
def test_how_much_was_counted_is_no_matter_of_the_latents(kind: str, tmp_path: Path) -> None:
    """Rows of three times the counts are embedded alike; what is imputed sums to the median total."""
    data = load(kind)
    mopoe.train(CONFIG, data, bool, checkpoint=tmp_path / "c")
    model = mopoe.load(tmp_path / "c")
    split = data.test.complete()
    x = {name: t.numpy() for name, t in split.x.items()}
    np.testing.assert_allclose(model.embed(x), model.embed({**x, "n": 3 * x["n"]}), rtol=1e-4, atol=1e-5)
    imputed = model.impute({"x": x["x"]})["n"]
    np.testing.assert_allclose(imputed.sum(1), data.modalities[1].median_total, rtol=1e-5)
    zeros = {"x": x["x"], "n": np.zeros_like(x["n"])}
    np.testing.assert_allclose(
        model.log_likelihood(zeros, samples=3000).log_p,
        model.log_likelihood({"x": x["x"]}, samples=3000).log_p,
        atol=0.2,
    )


def test_totals_cost_no_likelihood_once_they_are_given() -> None:
    """Held-out counts are likelier given their totals than without, in which only latents can tell them."""
    found = []
    for sized in (["n"], []):
        data = load(size_factors=sized)
        model = TrainedModel(mopoe.train(CONFIG, data, bool), data.modalities, kinds(data))
        x = {name: t.numpy() for name, t in data.test.complete().x.items()}
        found.append(model.log_likelihood(x, samples=60).mean)
    assert found[0] > found[1] + 5


def test_covariates_follow_the_counts_unscaled() -> None:
    """The encoder of counts reads what is given beside them as it is."""
    age = torch.arange(N) % 7
    pl.DataFrame({"id": range(N), "age": age.numpy()}).write_csv("c.csv")
    data = load(covariates=["age"], covariates_file="c.csv")
    model = mopoe.build_model(CONFIG, data.modalities)
    first = model.encoders["n"].trunk[0]
    x = torch.tensor([[2.0, 4, 0, 4, -1.5], [0, 0, 0, 0, 2.5]])
    spec = data.modalities[1]
    expected = torch.log1p(x[:1, :4] / 10 * spec.median_total / torch.tensor(spec.scale))
    torch.testing.assert_close(first(x), torch.cat([torch.cat([expected, torch.zeros(1, 4)]), x[:, 4:]], 1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size_factors": ["m"]}, "size_factors: unknown key 'm'; possible: x, n"),
        (
            {"size_factors": ["x"]},
            "size_factors: x has the likelihood normal, but only counts have totals: poi",
        ),
        ({"size_factors": [3]}, "size_factors: entry 1 is 3, but must be a word"),
    ],
)
def test_what_has_no_totals_is_refused(options: dict[str, Any], sentence: str) -> None:
    """In one sentence."""
    with pytest.raises(MopoeError) as error:
        load(**options)
    assert sentence in str(error.value)
