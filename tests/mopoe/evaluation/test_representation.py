"""The linear probe on latents whose classes can be read, cannot be read, or are known to scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation import representation
from mopoe.evaluation.representation import linear_probe, posterior_means
from mopoe.likelihoods import Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

CPU = torch.device("cpu")
Make = Callable[..., Modality]


def encode(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the first two elements as means, with precisions that depend on them."""
    return x[:, :2], -0.1 * x[:, :2]


def model_of(modality: Make, **settings: object) -> MoPoE:
    """Return a model of two vectors whose posteriors' means are the data's first elements."""
    parts = {name: modality(encode, lambda z: z, Normal(1.0)) for name in "ab"}
    return MoPoE(parts, 2, MethodSpec(**settings))  # type: ignore[arg-type]


def split(n: int, seed: int, *, noise: float = 0.3, labels: Tensor | None = None) -> Split:
    """Return samples of four classes, at the corners of a square and with noise; modality b is all noise."""
    rng = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 4, (n,), generator=rng)
    corners = torch.stack([classes // 2, classes % 2], 1) * 4.0 - 2
    a, b = (torch.randn(n, 2, generator=rng) for _ in "ab")
    return Split({"a": corners + noise * a, "b": b}, classes if labels is None else labels)


def test_separable_latents_give_one_and_others_chance(modality: Make) -> None:
    """Subset a sees the classes, b does not; shuffled labels are at chance for every subset."""
    model, train, held_out = model_of(modality), split(600, 0), split(2000, 1)
    a, b, _ = linear_probe(model, train, held_out, 2000, 0).tolist()
    assert a == 1.0
    assert b == pytest.approx(0.25, abs=0.05)
    rng, scores = torch.Generator().manual_seed(2), []
    for _ in range(20):  # of classes as far apart as these, each is either right or wrong as a whole
        shuffled = Split(train.x, train.labels[torch.randperm(600, generator=rng)])
        scores.append(linear_probe(model, shuffled, held_out, 2000, 0))
    assert torch.stack(scores).mean(0).tolist() == pytest.approx([0.25] * 3, abs=0.1)


def test_the_value_is_scikit_learns(modality: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the product's means, for the drawn samples, in chunks; other seeds draw others."""
    monkeypatch.setattr(representation, "ROWS", 100)
    model, train, held_out = model_of(modality), split(500, 0, noise=2.0), split(300, 1, noise=2.0)
    found = linear_probe(model, train, held_out, 250, 0)
    z, z_held_out = (posterior_means(model, s).numpy() for s in (train, held_out))
    for s in range(3):
        fit = LogisticRegression(max_iter=1000, random_state=0).fit(z[s], train.labels.numpy())
        expected = fit.score(z_held_out[s, :250], held_out.labels[:250].numpy())
        assert float(found[s]) == pytest.approx(expected, abs=0.005)  # the order of rows moves the optimiser
    monkeypatch.setattr(representation, "TRAINING", 40)
    few = [linear_probe(model, train, held_out, 250, seed) for seed in (0, 0, 1)]
    assert torch.equal(few[0], few[1])
    assert not torch.equal(few[0], few[2])


def test_attributes_are_judged_by_mean_average_precision(modality: Make) -> None:
    """As scikit-learn has it; an attribute that no held-out sample has does not count."""
    train, held_out = split(500, 0, noise=2.0), split(300, 1, noise=2.0)

    def attributes(s: Split, *, rare: int) -> Split:
        bits = torch.stack([s.labels // 2, s.labels % 2, torch.full_like(s.labels, rare)], 1)
        return Split(s.x, bits)

    model = model_of(modality)
    found = linear_probe(model, attributes(train, rare=1), attributes(held_out, rare=0), 300, 0)
    z, z_held_out = (posterior_means(model, s).numpy() for s in (train, held_out))
    truth = attributes(held_out, rare=0).labels.numpy()
    for s in range(3):
        each = []
        for a in range(2):
            fit = LogisticRegression(max_iter=1000, random_state=0)
            fit.fit(z[s], attributes(train, rare=1).labels[:, a].numpy())
            each.append(average_precision_score(truth[:, a], fit.decision_function(z_held_out[s])))
        assert float(found[s]) == pytest.approx(np.mean(each), abs=0.005)
    constant = linear_probe(model, attributes(train, rare=0), attributes(held_out, rare=1), 300, 0)
    torch.testing.assert_close(constant, (2 * found + 1) / 3)
    none = Split(held_out.x, torch.zeros(300, 3, dtype=torch.long))
    assert bool(linear_probe(model, attributes(train, rare=0), none, 300, 0).isnan().all())


def test_one_class_alone_is_predicted_as_such(modality: Make) -> None:
    """No regression can be fitted then."""
    train = split(20, 0, labels=torch.ones(20, dtype=torch.long))
    held_out = split(50, 1)
    share = float((held_out.labels == 1).double().mean())
    assert linear_probe(model_of(modality), train, held_out, 50, 0).tolist() == pytest.approx([share] * 3)


def test_the_mean_of_a_mixture_of_experts_is_that_of_its_members(modality: Make) -> None:
    """And of a product the precision-weighted one."""
    s = split(5, 0)
    a, b = s.x["a"], s.x["b"]
    moe = posterior_means(model_of(modality, mixture_of_experts=True), s)
    torch.testing.assert_close(moe, torch.stack([a, b, (a + b) / 2]))
    p, q = (0.1 * a).exp(), (0.1 * b).exp()
    poe = posterior_means(model_of(modality, prior_expert="full"), s)
    torch.testing.assert_close(poe, torch.stack([a, b, (a * p + b * q) / (p + q + 1)]))


def test_samples_with_a_missing_modality_do_not_count(modality: Make) -> None:
    """Neither in training nor held out."""
    train, held_out = split(300, 0), split(200, 1)
    spoilt = [
        Split(
            {k: torch.cat([x, x[:50] * 9]) for k, x in s.x.items()},
            torch.cat([s.labels, 3 - s.labels[:50]]),
            present=torch.cat([torch.ones(len(s), 2), torch.tensor([[1.0, 0.0]]).expand(50, 2)]).bool(),
        )
        for s in (train, held_out)
    ]
    model = model_of(modality)
    clean = linear_probe(model, train, held_out, 1000, 0)
    assert torch.equal(linear_probe(model, *spoilt, 1000, 0), clean)
