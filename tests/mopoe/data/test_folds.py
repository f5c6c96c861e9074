"""Folds: which samples each validates on, in what scale, and data that cannot be cut into so many."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mopoe.data.arrays import data_from_arrays
from mopoe.data.container import SPLITS, MultimodalData
from mopoe.data.folds import check_folds, fold
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers, for_fold

FOLDS = 4
N = 103


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> MultimodalData:
    """Give two tables of 103 subjects with 3 classes, of which the second lacks every ninth."""
    import polars as pl

    from mopoe.data import _own, load_data

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, counts, kind = rng.normal(50, 9, (N, 2)), rng.poisson(6, (N, 3)), rng.choice(list("abbccc"), N)
    ids = {"id": [f"s{i:03}" for i in range(N)], "kind": kind}
    pl.DataFrame(ids | {f"x{i}": c for i, c in enumerate(x.T)}).write_csv("x.csv")
    there = np.arange(N) % 9 != 0
    pl.DataFrame(ids | {f"n{i}": c for i, c in enumerate(counts.T)}).filter(there).write_csv("n.csv")
    _own.cache_clear()
    given = {"x": "x.csv", "n": "n.csv"}
    return load_data("tables", modalities=given, labels="kind", likelihoods={"n": "poisson"})


def raw(data: MultimodalData, split: str) -> Tensor:
    """Return x of a split in the unit of its file, float64, by which its samples are known."""
    x, spec = data.split(split).x["x"].double(), data.modalities[0]
    return torch.tensor(spec.offset).double() + x * torch.tensor(spec.scale).double()


def ids(x: Tensor) -> list[float]:
    """Return what tells one sample from another, sorted."""
    return sorted(x[:, 0].mul(1e3).round().div(1e3).tolist())


def test_every_complete_sample_is_validated_on_once(tables: MultimodalData) -> None:
    """But for a remainder, which is trained on as incomplete ones are; the test split keeps its samples."""
    pool = torch.cat([raw(tables, "train"), raw(tables, "validation")])
    have = torch.cat([tables.train.present, tables.validation.present])[:, 1]  # type: ignore[list-item]
    complete = int(have.sum())
    seen: list[float] = []
    for number in range(FOLDS):
        found = fold(tables, number, FOLDS)
        validated = ids(raw(found, "validation"))
        assert len(validated) == complete // FOLDS
        assert sorted(validated + ids(raw(found, "train"))) == pytest.approx(ids(pool), abs=2e-3)
        assert ids(raw(found, "test")) == pytest.approx(ids(raw(tables, "test")), abs=2e-3)
        assert found.validation.present is not None
        assert found.validation.present.all()
        shares = torch.bincount(found.validation.labels, minlength=3)
        whole = torch.bincount(torch.cat([tables.train.labels, tables.validation.labels])[have], minlength=3)
        assert (shares - whole / FOLDS).abs().max() <= 2
        seen += validated
    assert len(set(seen)) == len(seen)
    assert len(seen) == complete - complete % FOLDS


def test_features_are_in_the_scale_of_the_folds_own_training_samples(tables: MultimodalData) -> None:
    """Mean 0 and variance 1 there, the same numbers in the unit of the file; of counts the mean is theirs."""
    scales = set()
    for number in range(FOLDS):
        found = fold(tables, number, FOLDS)
        train = found.train
        assert train.present is not None
        torch.testing.assert_close(train.x["x"].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(train.x["x"].std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
        own = raw(found, "train")
        assert found.modalities[0].offset == pytest.approx(own.mean(0).tolist(), rel=1e-6)
        counts = train.x["n"][train.present[:, 1]]
        assert found.modalities[1].scale == pytest.approx(counts.double().mean(0).tolist(), rel=1e-6)
        assert not train.x["n"][~train.present[:, 1]].any()
        scales.add(found.modalities[0].scale)
        assert found.fingerprint != tables.fingerprint
    assert len(scales) == FOLDS


def test_a_fold_is_the_same_whenever_it_is_made(tables: MultimodalData) -> None:
    """Bit by bit, in the order of its samples too; another one has another fingerprint."""
    one, again = fold(tables, 1, FOLDS), fold(tables, 1, FOLDS)
    for split in SPLITS:
        assert torch.equal(one.split(split).x["x"], again.split(split).x["x"])
    prints = [fold(tables, i, f).fingerprint for i, f in ((1, FOLDS), (2, FOLDS), (1, FOLDS + 1))]
    assert again.fingerprint == prints[0]
    assert len(set(prints)) == 3


def test_arrays_without_labels_stay_as_they_are() -> None:
    """Nothing was standardised, so nothing is; every sample of both splits is there."""
    x = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    data = data_from_arrays({"a": x, "b": x[:, :1]})
    found = fold(data, 0, 3)
    pool = torch.cat([data.train.x["a"], data.validation.x["a"]])
    own = torch.cat([found.train.x["a"], found.validation.x["a"]])
    assert torch.equal(own.sort(0).values, pool.sort(0).values)
    assert len(found.validation) == 9
    assert found.test is data.test
    assert found.modalities == data.modalities


def test_classifiers_see_what_they_were_trained_on(tables: MultimodalData) -> None:
    """A sample has the same logits and features in every scale; counts have none and are read as they are."""

    class Judge(nn.Module):
        """A classifier with a part `features`."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.features = nn.Linear(width, 4)

        def forward(self, x: Tensor) -> Tensor:
            """Return logits."""
            return self.features(x).cos()  # type: ignore[no-any-return] # a Module's call

    networks = {"x": Judge(2).eval(), "n": Judge(3).eval()}
    judges = Classifiers(networks=networks, accuracy={"x": 1.0, "n": 1.0}, hash="h")
    found = fold(tables, 2, FOLDS)
    own = for_fold(judges, tables, found)
    assert own.hash == "h"
    assert own.networks["n"] is networks["n"]
    now, was = own.logits("x", found.test.x["x"]), judges.logits("x", tables.test.x["x"])
    torch.testing.assert_close(now, was, atol=1e-5, rtol=1e-5)
    features: Any = own.networks["x"].features
    torch.testing.assert_close(features(found.test.x["x"]), networks["x"].features(tables.test.x["x"]))


def test_too_many_folds_are_refused(tables: MultimodalData) -> None:
    """Each needs two complete samples, one has no standard error; with how many there are."""
    split = torch.cat([tables.train.present, tables.validation.present])  # type: ignore[list-item]
    n = int(split.all(1).sum())
    check_folds(tables, n // 2)
    with pytest.raises(DataError) as error:
        check_folds(tables, n // 2 + 1)
    assert str(error.value) == (
        f"{n // 2 + 1} folds need {2 * (n // 2 + 1)} samples or more, but only {n} of the training and "
        "validation splits have all modalities"
    )


def test_a_feature_that_only_one_fold_varies_in_is_refused(tables: MultimodalData) -> None:
    """Without it the others cannot be standardised: which fold, which feature."""
    splits = {}
    for name in ("train", "validation"):
        split = tables.split(name)
        x = split.x["x"].clone()
        x[:, 1] = 0
        splits[name] = replace(split, x={**split.x, "x": x})
    data = replace(tables, **splits)
    at = int(data.train.present.all(1).nonzero()[0])  # type: ignore[union-attr]
    data.train.x["x"][at, 1] = 1
    with pytest.raises(
        DataError, match=r"^fold \d of 4: 'x': constant among its training samples .*: 'x1'; "
    ):
        check_folds(data, FOLDS)
