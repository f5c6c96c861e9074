"""Every setting of a trial acts, and every kind of training learns and resumes."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import CONFIG, run, same_weights

from mopoe.config import TrialConfig
from mopoe.data import load_data
from mopoe.data.container import MultimodalData, Split
from mopoe.errors import ConfigError
from mopoe.model import MoPoE, build_model
from mopoe.random_streams import generator
from mopoe.training import hide

CHANGES: dict[str, Any] = {
    "beta": 1.0,
    "beta_warmup_epochs": 1,
    "beta_start": 1.0,
    "beta_schedule": "cosine",
    "latent_dim": 4,
    "style_dim": 2,
    "beta_style": 2.0,
    "style_weights": (1.0, 5.0),
    "style_outside": "auxiliary",
    "method": "moe",
    "unimodal_elbos": False,
    "tc_ratio": 0.5,
    "mixture": "all",
    "subset_weights": (0.9, 0.1),
    "mixture_path": 0.5,
    "learned_weights": True,
    "weight_entropy": 1.0,
    "prior_expert": "none",
    "aggregation": "barycentre",
    "posterior": "laplace",
    "estimator": "iwae",
    "samples": 3,
    "missing": 0.5,
    "likelihood": "normal",
    "likelihood_weights": "dimensions",
    "likelihood_scale": 0.5,
    "learned_scale": True,
    "channels": (2, 3, 2),
    "network": {"dropout": 0.5},
    "initialisation": "he",
    "initial_logvar": -2.0,
    "precision": "bfloat16",
    "lr": 2e-2,
    "lr_schedule": "cosine",
    "lr_warmup_epochs": 2,
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "grad_clip": 1.0,
    "batch_size": 11,
    "epochs": 4,
    "seed": 2,
}
LEARNED: dict[str, Any] = {"mixture": "all", "learned_weights": True}
NEEDS: dict[str, dict[str, Any]] = {
    "unimodal_elbos": {"method": "poe"},
    "tc_ratio": {"method": "mvtcae"},
    "beta_start": {"beta_warmup_epochs": 2},
    "beta_schedule": {"beta_warmup_epochs": 2},
    "beta_style": {"style_dim": 2},
    "style_weights": {"style_dim": 2},
    "style_outside": {"style_dim": 2},
    "learned_weights": {"mixture": "all"},
    "weight_entropy": LEARNED,
    "posterior": {"method": "moe"},
    "samples": {"estimator": "iwae"},
    "optimizer": {"weight_decay": 0.1},
}
"""What a setting needs to act."""


ELSEWHERE = ("compile", "hidden_widths")
"""Settings with tests of their own: the one must change nothing, the other is not of images of 28 x 28."""


@pytest.mark.parametrize("name", [f.name for f in fields(TrialConfig) if f.name not in ELSEWHERE])
def test_every_setting_acts(tiny_data: MultimodalData, name: str) -> None:
    """Changing any one setting changes weights and reports; a setting without a case here is an error.

    But for those of `ELSEWHERE`.
    """
    assert name in CHANGES, f"add a case for {name}"
    config = replace(CONFIG, **NEEDS.get(name, {}))
    base, expected = run(config, tiny_data)
    changed, reports = run(replace(config, **{name: CHANGES[name]}), tiny_data)
    assert reports != expected
    a, b = base.state_dict(), changed.state_dict()
    assert any(a[k].shape != b[k].shape or not torch.equal(a[k], b[k]) for k in a)
    if name != "epochs":
        assert reports[-1].loss != expected[-1].loss


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"method": "moe"}, {"subset_weights": (1.0, 0.0)}),
        ({"method": "poe", "unimodal_elbos": False}, {"subset_weights": (0.0, 1.0)}),
        ({"mixture_path": 0.0}, {}),
        ({"mixture_path": -1.0}, {"method": "moe"}),
        ({"mixture_path": 0.25}, {"subset_weights": (0.25, 0.25, 0.5)}),
        ({"method": "moe", "unimodal_elbos": False}, {"method": "moe"}),
    ],
)
def test_methods_are_points_of_one_family(
    tiny_data: MultimodalData, settings: dict[str, Any], same: dict[str, Any]
) -> None:
    """Two ways to say the same mixture give the same weights and reports, bit by bit."""
    a, reports_a = run(replace(CONFIG, **settings), tiny_data)
    b, reports_b = run(replace(CONFIG, **same), tiny_data)
    assert reports_a == reports_b
    assert same_weights(a, b)


ALL_AT_ONCE: dict[str, Any] = {
    "method": "poe",
    "mixture": "all",
    "beta_warmup_epochs": 2,
    "likelihood_weights": "dimensions",
}


@pytest.mark.parametrize(
    "settings",
    [
        {"mixture": "all"},
        {"mixture": "categorical"},
        {"mixture": "batch_split"},
        ALL_AT_ONCE,
        {"missing": 0.4, "style_dim": 2},
        {"missing": 0.4, "style_dim": 2, "style_outside": "auxiliary"},
        {"network": {"dropout": 0.3, "normalisation": "batch"}},
        {"method": "moe", "posterior": "laplace", "estimator": "dreg", "samples": 2, "missing": 0.4},
        LEARNED | {"missing": 0.4, "learned_scale": True},
    ],
)
def test_every_kind_of_training_resumes_bit_by_bit(
    tiny_data: MultimodalData, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Trained to epoch 1 and then to the end: the same weights and reports."""
    config = replace(CONFIG, **settings)
    whole, expected = run(config, tiny_data)
    path = tmp_path / "c.safetensors"
    _, first = run(replace(config, epochs=1), tiny_data, checkpoint=path)
    resumed, rest = run(config, tiny_data, checkpoint=path)
    assert first + rest == expected
    assert same_weights(whole, resumed)


def test_the_loss_is_taken_at_the_beta_of_the_step(tiny_data: MultimodalData) -> None:
    """One step an epoch, a warm-up of two: beta is 0, 1, 2 and 2; weights of 3 and 1 by dimensions."""
    settings = {"beta": 2.0, "beta_warmup_epochs": 2, "batch_size": 22, "epochs": 4}
    _, reports = run(replace(CONFIG, **settings, likelihood_weights="dimensions"), tiny_data)
    for report, beta in zip(reports, (0.0, 1.0, 2.0, 2.0), strict=True):
        grey, colour = report.reconstruction["grey"], report.reconstruction["colour"]
        assert report.loss == pytest.approx(3 * grey + colour + beta * report.kl, rel=1e-6)
        assert report.elbo == pytest.approx(-(grey + colour + report.kl), rel=1e-6)


def test_the_release_is_reproduced_by_blocks_of_the_batch(
    tiny_data: MultimodalData, plain: Callable[..., Any], in_double: Callable[..., MoPoE]
) -> None:
    """Batches of 22 with three subsets: blocks of 7, 7 and 8 in the order of the shuffled samples."""
    config = replace(CONFIG, mixture="batch_split", batch_size=22, epochs=1)
    model = in_double(build_model(config, tiny_data.modalities))
    order = torch.randperm(22, generator=generator(config.seed, "order", 1))
    noise = torch.randn(22, 3, generator=generator(config.seed, "latent", 0))
    component = torch.tensor([0] * 7 + [1] * 7 + [2] * 8)
    x = {name: images[order].float() / 255 for name, images in tiny_data.train.x.items()}
    terms = plain(model, x, component, noise, beta=config.beta, weights=None, prior_expert="full", scale=0.75)
    _, (report,) = run(config, tiny_data, model=model)
    assert report.loss == pytest.approx(float(terms.loss.detach()), rel=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mixture": "all", "learned_weights": True, "weight_entropy": 1.0},
        {"method": "poe"},
        {"method": "poe", "unimodal_elbos": False},
        {"method": "mvtcae"},
        {"method": "moe"},
        {"method": "mmjsd"},
        {"aggregation": "barycentre"},
        {"aggregation": "hellinger"},
        {"method": "moe", "posterior": "laplace", "estimator": "iwae", "samples": 3},
        {"method": "moe", "posterior": "laplace", "estimator": "dreg", "samples": 3},
        {"style_dim": 4, "missing": 0.3},
        {"method": "moe", "style_dim": 4, "style_outside": "auxiliary"},
        {"likelihood": "bernoulli"},
        {"likelihood": "normal", "learned_scale": True},
    ],
    ids=str,
)
def test_each_method_learns_real_digits(settings: dict[str, Any]) -> None:
    """Four epochs on 96 of them: the loss falls by more than its last change, and every weight has moved."""
    data = load_data("digits")
    data = replace(data, train=data.train.take(torch.arange(96)))
    config = TrialConfig(
        latent_dim=8,
        channels=(4, 4, 8),
        batch_size=16,
        epochs=4,
        lr=3e-3,
        initialisation="he",
        beta=0.5,
        **settings,
    )
    model, reports = run(config, data)
    losses = [report.loss for report in reports]
    assert losses[0] - losses[-1] > max(0.01 * abs(losses[0]), abs(losses[-2] - losses[-1]))
    start = dict(build_model(config, data.modalities).named_parameters())
    assert all(not torch.equal(value, start[name]) for name, value in model.named_parameters())


def test_blocks_of_the_batch_need_complete_data(tiny_data: MultimodalData) -> None:
    """Data that comes with missing modalities is refused in one sentence."""
    here = torch.ones(22, 2, dtype=torch.bool)
    data = replace(tiny_data, train=replace(tiny_data.train, present=here))
    with pytest.raises(ConfigError, match=r"^modalities are missing, but mixture batch_split needs complete"):
        run(replace(CONFIG, mixture="batch_split"), data)


def test_batches_are_normalised_where_all_modalities_are_there(tiny_data: MultimodalData) -> None:
    """What stands in for missing samples may not move the means; normalising each sample is possible."""
    here = torch.ones(22, 2, dtype=torch.bool)
    data = replace(tiny_data, train=replace(tiny_data.train, present=here))
    config = replace(CONFIG, epochs=1, network={"normalisation": "batch"})
    for some, given in ((config, data), (replace(config, missing=0.3), tiny_data)):
        with pytest.raises(ConfigError) as error:
            run(some, given)
        assert str(error.value) == (
            "modalities are missing, but the encoder of 'grey' normalises over batches, which need complete "
            "samples; use normalisation layer"
        )
    run(replace(config, missing=0.3, network={"normalisation": "layer"}), tiny_data)


def test_missing_modalities_are_the_same_in_every_epoch_and_leave_one() -> None:
    """A share of 0.6 hides that many but for the one that stays; what is missing in the data stays so."""
    here = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    here[:, 0] |= ~here.any(1)
    split = Split(dict.fromkeys("abc", torch.zeros(2000, 1)), torch.zeros(2000), present=here)
    config = TrialConfig(missing=0.6)
    hidden = hide(split, config).present
    assert hidden is not None
    assert bool(hidden.any(1).all())
    assert not bool((hidden & ~here).any())
    assert torch.equal(hidden, hide(split, config).present)
    whole = hide(replace(split, present=None), config).present
    # Three of three hidden with 0.6^3, and then one is left.
    assert float(whole.double().mean()) == pytest.approx(0.4 + 0.6**3 / 3, abs=0.02)
    assert hide(split, TrialConfig()) is split
