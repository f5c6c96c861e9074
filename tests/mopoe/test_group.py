"""Groups: each member against a plain trainer and against itself alone, whatever happens beside it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_runs import CONFIG, run

from mopoe.checkpoint import read_progress
from mopoe.config import TrialConfig
from mopoe.data import load
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError, DivergedError
from mopoe.group import Group, fuse_key
from mopoe.member import Member, start
from mopoe.model import MoPoE, build_model
from mopoe.records import EpochReport
from mopoe.training import knee, members_per_device, train, train_group

THREE = (
    replace(CONFIG, subset_weights=(0.3, 0.7), beta_warmup_epochs=3, latent_dim=4),
    replace(CONFIG, seed=2, lr=3e-3, beta=0.5, latent_dim=3),
    replace(CONFIG, seed=3, subset_weights=(0.2, 0.1, 0.7), beta=4.0, latent_dim=3),
)
Double = Callable[..., MoPoE]


def member_in_double(config: TrialConfig, data: MultimodalData, in_double: Double) -> Member:
    """Return a member whose model is in float64."""
    model = in_double(build_model(config, data.modalities), subset_weights=config.subset_weights)
    return start(config, data, model=model)


def assert_same(a: MoPoE, b: MoPoE, tolerance: float) -> None:
    """Fail unless all weights are equal but for a tolerance."""
    theirs = dict(b.named_parameters())
    for name, parameter in a.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], atol=tolerance, rtol=tolerance, msg=name)


def test_every_member_equals_a_plain_trainer(
    tiny_data: MultimodalData, train_plainly: Callable[..., list[dict[str, float]]], in_double: Double
) -> None:
    """After 51 steps in float64 to 1e-10, beside members of other settings and of a wider latent.

    The plain models have their own latent sizes, contiguous weights and unfused Adam.
    """
    configs = [replace(config, epochs=17) for config in THREE]
    group = Group([member_in_double(config, tiny_data, in_double) for config in configs])
    outcomes = [group.epoch() for _ in range(17)]
    for g, config in enumerate(configs):
        reference = member_in_double(config, tiny_data, in_double).model
        start_weights = [p.detach().clone() for p in reference.parameters()]
        expected = train_plainly(reference.to(memory_format=torch.contiguous_format), config, tiny_data.train)
        trained = group.members[g].model
        assert_same(trained, reference, 1e-10)
        for before, after in zip(start_weights, trained.parameters(), strict=True):
            assert float((after - before).detach().abs().max()) > 0.01
        for epoch, sums in enumerate(expected):
            member, report = outcomes[epoch][g]
            assert member is group.members[g]
            assert isinstance(report, EpochReport)
            found = {
                "loss": report.loss,
                "kl": report.kl,
                **report.reconstruction,
                "grad_norm": report.grad_norm,
            }
            assert found == pytest.approx(sums, rel=1e-6)
            assert (report.epoch, report.step, report.examples) == (epoch + 1, 3 * epoch + 3, 22 * epoch + 22)


def test_gradients_have_the_strides_of_their_parameters(tiny_data: MultimodalData) -> None:
    """What fused Adam on the CPU relies on, for every parameter of every member, padded or not.

    Strides of axes of length 1 mean nothing.
    """
    group = Group([start(config, tiny_data) for config in THREE])
    group.epoch()
    for member in group.members:
        assert not member.model.encoders["colour"].convolutions[0].weight.is_contiguous()
        for name, p in member.model.named_parameters():
            assert p.grad is not None
            for length, ours, theirs in zip(p.shape, p.grad.stride(), p.stride(), strict=True):
                assert length == 1 or ours == theirs, name


numbers = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 99),
        "lr": st.sampled_from((1e-3, 1e-2)),
        "beta": st.floats(0, 5),
        "beta_warmup_epochs": st.integers(0, 2),
        "latent_dim": st.sampled_from((3, 4)),
        "subset_weights": st.sampled_from((None, (0.3, 0.7), (0.2, 0.1, 0.7))),
        "likelihood_weights": st.sampled_from(("none", "dimensions", (0.5, 2.0))),
        "missing": st.sampled_from((0.2, 0.4)),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_member_is_what_it_would_be_alone(
    tiny_data: MultimodalData, in_double: Double, data: st.DataObject
) -> None:
    """Random members join and leave at random epochs, move to other slots, and one becomes NaN: 1e-10."""
    hidden = data.draw(st.booleans())
    found = data.draw(st.lists(numbers, min_size=2, max_size=4))
    configs = [replace(CONFIG, **(f if hidden else f | {"missing": 0.0})) for f in found]
    members = [member_in_double(config, tiny_data, in_double) for config in configs]
    spans = {m: data.draw(st.tuples(st.integers(0, 2), st.integers(1, 3))) for m in members}
    bad, group = data.draw(st.sampled_from([None, *members])), Group()
    for epoch in range(5):
        for member, (first, length) in spans.items():
            if epoch == first:
                group.join(member)
            if epoch == first + length:
                group.leave(member)
        if bad in group.members:
            next(bad.model.parameters()).data.fill_(math.nan)
        group.members = data.draw(st.permutations(group.members))
        for member, outcome in group.epoch() if group.members else ():
            assert isinstance(outcome, DivergedError) == (member is bad)
    for member, (_, length) in spans.items():
        if member is not bad:
            alone = Group([member_in_double(member.config, tiny_data, in_double)])
            for _ in range(length):
                alone.epoch()
            assert_same(member.model, alone.members[0].model, 1e-10)


@pytest.mark.parametrize(
    "common",
    [
        {"mixture": "all"},
        {"mixture": "categorical", "missing": 0.3},
        {"mixture": "batch_split"},
        {"mixture": "all", "learned_weights": True},
        {"method": "poe"},
        {"method": "mvtcae", "missing": 0.3},
        {"method": "moe"},
        {"estimator": "iwae", "samples": 3},
        {"style_dim": 2, "latent_dim": 3},
        {"likelihood": "normal", "learned_scale": True},
        {"likelihood": "bernoulli", "initialisation": "he"},
    ],
    ids=str,
)
def test_every_kind_of_training_is_stacked(tiny_data: MultimodalData, common: dict[str, Any]) -> None:
    """Two epochs in float32: reports as alone to 1e-5, weights to 1e-4, with padding where it is allowed."""
    configs = [replace(c, epochs=2, subset_weights=None, **common) for c in THREE]
    reports: list[list[EpochReport]] = [[], [], []]
    models = train_group(configs, tiny_data, lambda i, r: reports[i].append(r), size=3)
    for config, model, found in zip(configs, models, reports, strict=True):
        alone, expected = run(config, tiny_data)
        assert_same(model, alone, 1e-4)
        for ours, theirs in zip(found, expected, strict=True):
            for name in ("loss", "kl", "elbo", "grad_norm"):
                assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-5)


def test_bfloat16_is_stacked(tiny_data: MultimodalData) -> None:
    """Losses are as alone to 0.1 %."""
    configs = [replace(c, epochs=2, precision="bfloat16") for c in THREE]
    reports: list[list[EpochReport]] = [[], [], []]
    train_group(configs, tiny_data, lambda i, r: reports[i].append(r), size=3)
    for config, found in zip(configs, reports, strict=True):
        _, expected = run(config, tiny_data)
        assert [r.loss for r in found] == pytest.approx([r.loss for r in expected], rel=1e-3)


def test_trials_take_the_places_of_those_that_end(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Five trials of 1 to 3 epochs, one of which diverges and one that stands alone, two at a time."""
    configs = [replace(CONFIG, seed=s, epochs=1 + s % 3, lr=1e30 if s == 3 else 1e-2) for s in range(4)]
    configs.append(replace(CONFIG, channels=(2, 3, 2)))
    paths = [tmp_path / f"{i}.safetensors" for i in range(5)]
    reports: list[list[EpochReport]] = [[] for _ in configs]

    def on_report(i: int, report: EpochReport) -> bool:
        reports[i].append(replace(report, seconds=0.0))
        return report.epoch != 1

    found = train_group(configs, tiny_data, on_report, size=2, checkpoints=paths)
    for i, config in enumerate(configs):
        if i == 3:
            with pytest.raises(DivergedError) as alone:
                train(config, tiny_data, bool)
            assert str(found[i]) == str(alone.value) == "the loss is not finite at step 2 (epoch 1)"
            assert not paths[i].exists()
        else:
            model, expected = run(config, tiny_data)
            assert_same(found[i], model, 1e-5)
            assert len(reports[i]) == len(expected)
            assert read_progress(paths[i]).epoch == config.epochs
    with pytest.raises(KeyboardInterrupt):
        train_group(configs, tiny_data, raise_at_once)


def raise_at_once(_place: int, _report: EpochReport) -> None:
    """End all trials."""
    raise KeyboardInterrupt


def test_what_is_not_stacked_trains_alone(tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where others may be stacked: its group, and so its compiled step, has room for one."""
    sizes: list[int] = []

    class Seen(Group):
        def __init__(self, members: Sequence[Member] = (), size: int = 1) -> None:
            sizes.append(size)
            super().__init__(members, size)

    monkeypatch.setattr("mopoe.training.Group", Seen)
    alone = replace(CONFIG, estimator="dreg", epochs=1)
    train_group([alone, replace(CONFIG, epochs=1)], tiny_data, lambda *_: None, size=3)
    assert sizes == [1, 3]


def test_a_device_too_small_for_one_is_an_error(
    tiny_data: MultimodalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the knee of nothing."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Group, "epoch", full)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        members_per_device(CONFIG, tiny_data)


def test_a_checkpoint_fits_any_slot(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Begun alone or second of two, gone on as first of three or alone: as never stopped."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    train(replace(THREE[1], epochs=1), tiny_data, bool, checkpoint=paths[1])
    short = [replace(config, epochs=1) for config in THREE]
    train_group(short[::2], tiny_data, lambda *_: True, size=2, checkpoints=paths[::2])
    order = (2, 1, 0)
    resumed = train_group(
        [THREE[i] for i in order],
        tiny_data,
        lambda *_: True,
        size=3,
        checkpoints=[paths[i] for i in order],
    )
    for i, model in zip(order, resumed, strict=True):
        whole, _ = run(THREE[i], tiny_data)
        assert_same(model, whole, 1e-5)
    again, reports = run(THREE[0], tiny_data, checkpoint=paths[0])
    assert reports == []
    assert_same(again, resumed[2], 0)


def test_what_can_be_stacked() -> None:
    """Numbers may differ, and latents within a power of two; shapes, methods and random layers may not."""
    images = tuple(ModalitySpec(name=n, shape=(3, 28, 28)) for n in "ab")
    base = TrialConfig(latent_dim=64, channels=(2, 2, 2))
    key = fuse_key(base, images)
    same: tuple[dict[str, Any], ...] = (
        {"latent_dim": 33, "beta": 1.0, "lr": 1e-3, "seed": 5, "epochs": 2, "initialisation": "he"},
        {"subset_weights": (0.1, 0.9), "likelihood_weights": (1.0, 2.0), "beta_warmup_epochs": 3},
        {"mixture_path": 0.5, "beta_schedule": "cosine", "initial_logvar": -5.0},
    )
    other: tuple[dict[str, Any], ...] = (
        *({"latent_dim": 32}, {"latent_dim": 65}, {"batch_size": 8}, {"mixture_path": 1.0}, {"missing": 0.1}),
        *({"method": "poe"}, {"channels": (2, 2, 3)}, {"likelihood_scale": 0.5}, {"compile": "step"}),
    )
    assert key is not None
    assert all(fuse_key(replace(base, **change), images) == key for change in same)
    assert all(fuse_key(replace(base, **change), images) != key for change in other)
    with_style = [fuse_key(replace(base, style_dim=2, latent_dim=z), images) for z in (63, 64)]
    assert with_style[0] != with_style[1]
    assert fuse_key(replace(base, estimator="dreg"), images) is None
    assert fuse_key(replace(base, method="moe", posterior="laplace"), images) is None
    residual = (ModalitySpec(name="a", shape=(3, 64, 64), network="mopoe.networks.celeba:image"),)
    assert fuse_key(base, residual) is None


def test_a_group_of_strangers_is_refused(tiny_data: MultimodalData) -> None:
    """In one sentence, when the second joins."""
    with pytest.raises(ConfigError, match=r"^these trials cannot be one group: they differ in more than nu"):
        Group([start(config, tiny_data) for config in (CONFIG, replace(CONFIG, batch_size=4))])


def test_how_many_share_a_device_is_measured() -> None:
    """The knee of measured speeds; the answer is one of the candidates, and 1 for what is never stacked."""
    assert knee({1: 10.0, 2: 10.9, 4: 11.0}) == 1
    assert knee({1: 10.0, 2: 19.0, 4: 30.0, 8: 29.0}) == 4
    data = load("digits")
    config = TrialConfig(latent_dim=4, channels=(2, 2, 2), batch_size=4)
    assert members_per_device(config, data, candidates=(1, 2), steps=1) in (1, 2)
    assert members_per_device(replace(config, estimator="dreg"), data, candidates=(2,), steps=1) == 1
