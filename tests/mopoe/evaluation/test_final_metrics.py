"""Measurements of the last epoch alone: asked for by name, and stored as records."""

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mopoe.errors import ConfigError, DataError
from mopoe.evaluation import final_metrics as module
from mopoe.evaluation.coherence import joint_coherence
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation.frechet import (
    Features,
    classifier_features,
    frechet_distance,
    generated_features,
    real_features,
)
from mopoe.evaluation.generation import fit_prior, source_latents
from mopoe.evaluation.log_likelihood import LogLikelihood, conditional_log_likelihood, log_likelihood
from mopoe.evaluation.mmd import squared_mmd
from mopoe.evaluation.representation import linear_probe
from mopoe.evaluation_config import EvaluationConfig
from mopoe.likelihoods import Categorical, Laplace, Normal
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.quantities import measured
from mopoe.reports import METRICS, SubsetMetric

CPU = torch.device("cpu")
CONFIG = EvaluationConfig(
    coherence_samples=60,
    joint_samples=80,
    likelihood_samples=8,
    importance_samples=7,
    final_metrics=("representation", "frechet", "conditional_likelihood", "mixture_prior"),
    pictures=0,
    seed=5,
)
MOST = -4 * math.log(0.5 * math.sqrt(2 * math.pi))
"""The largest log-likelihood of one modality of the known case."""
Found = dict[tuple[str, int, str | None], SubsetMetric]


class WithFeatures(nn.Identity):
    """A classifier of samples that are logits already, with features to compare them by."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(4, 3)


@pytest.fixture(scope="module")
def case(known: Callable[..., Any]) -> Any:
    """Three modalities, 150 samples."""
    torch.manual_seed(0)
    found = known((0.0, 0.2, 0.4), n=150)
    networks = {name: WithFeatures().eval() for name in found.model.names}
    return replace(found, classifiers=replace(found.classifiers, networks=networks))


@pytest.fixture(scope="module")
def found(case: Any) -> Found:
    """All records of the last epoch by metric, subset and target."""
    metrics = Evaluator(case.data, case.classifiers, CONFIG, epochs=1).measure(case.model).subset_metrics
    keyed = {(m.metric, m.subset_mask, m.target): m for m in metrics}
    assert len(keyed) == len(metrics)
    assert {m.metric for m in metrics} == set(METRICS) - {
        "fid",
        "kid",
        "pictures",
        "conditional_coherence",
        "mixture_weight",
        "likelihood_scale",
    }
    return keyed


def test_extras_are_measured_after_the_last_epoch_alone(case: Any) -> None:
    """Neither at a rung, nor where the objectives alone are measured anew."""
    evaluator = Evaluator(case.data, case.classifiers, CONFIG, epochs=1)
    for what in ("rung", "objectives"):
        metrics = {m.metric for m in evaluator.measure(case.model, what).subset_metrics}
        assert not metrics & {"representation", "frechet", "log_likelihood", "joint_coherence_mixture"}


def test_representation_is_the_linear_probe(case: Any, found: Found) -> None:
    """A share of the 60 samples for every subset, with its binomial error."""
    split = case.data.validation
    score_S = linear_probe(case.model, split, split, 60, 5)
    for mask, score in zip(case.model.masks, score_S.tolist(), strict=True):
        record = found["representation", mask, None]
        assert (record.value, record.n) == (score, 60)
        assert record.stderr == pytest.approx(math.sqrt(score * (1 - score) / 60))


def test_frechet_distances_are_those_of_every_source(case: Any, found: Found) -> None:
    """Also of the prior, subset 0; they have no standard error, but the MMD in the same features does."""
    features = classifier_features(case.classifiers)
    split, names = case.data.validation, case.model.names
    for mask in (0, *case.model.masks):
        made = generated_features(case.model, split, mask, features, 60, 5, names)
        for name in names:
            real_ND = real_features(case.data, "validation", name, 60, features, CPU)
            record = found["frechet", mask, name]
            expected = frechet_distance(real_ND, made[name])
            assert (record.value, record.stderr, record.n) == (pytest.approx(expected), None, 60)
            record = found["mmd", mask, name]
            assert (record.value, record.stderr) == pytest.approx(squared_mmd(real_ND, made[name]))
            assert record.n == 60


def test_inception_judges_images_alone(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """FID in its features, of every source; a modality that is no image has none."""
    look = Features(key="look", of=lambda _, x: 2 * x)
    monkeypatch.setattr(module, "inception_features", lambda *_: look)
    first, second, third = case.data.modalities
    shapes = (replace(first, shape=(1, 2, 2)), second, replace(third, shape=(3, 2, 2)))
    data = replace(case.data, modalities=shapes)
    config = replace(CONFIG, final_metrics=("fid",), inception_weights="somewhere", subset_sizes=(3,))
    metrics = Evaluator(data, case.classifiers, config, epochs=1).measure(case.model).subset_metrics
    found = {(m.metric, m.subset_mask, m.target): m.value for m in metrics if m.metric in ("fid", "kid")}
    keys = {(metric, mask, m.name) for metric in ("fid", "kid") for mask in (0, 7) for m in (first, third)}
    assert set(found) == keys
    for mask in (0, 7):
        made = generated_features(case.model, data.validation, mask, look, 60, 5, (first.name,))[first.name]
        real = data.validation.batch(slice(0, 60), CPU)[first.name] * 2
        assert found["fid", mask, first.name] == pytest.approx(frechet_distance(real, made))
        assert found["kid", mask, first.name] == pytest.approx(squared_mmd(real, made)[0])


def test_inception_needs_its_weights(case: Any, tmp_path: Any) -> None:
    """Before anything is trained: a path must be given, and hold what it should."""
    config = replace(CONFIG, final_metrics=("fid",))
    with pytest.raises(
        ConfigError, match=r"^final_metrics contains fid, but inception_weights names no file$"
    ):
        Evaluator(case.data, case.classifiers, config, epochs=1)
    with pytest.raises(DataError, match="not weights of Inception v3"):
        Evaluator(
            case.data, case.classifiers, replace(config, inception_weights=str(tmp_path / "no")), epochs=1
        )


def test_frechet_distances_of_fewer_subsets(case: Any, found: Found) -> None:
    """Those of the sizes asked for, with the same values; the prior's always."""
    config = replace(CONFIG, final_metrics=("frechet",), subset_sizes=(1,))
    metrics = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model).subset_metrics
    few = {(m.subset_mask, m.target): m for m in metrics if m.metric == "frechet"}
    assert {mask for mask, _ in few} == {0, 1, 2, 4}
    assert all(record == found["frechet", *key] for key, record in few.items())


def test_conditional_likelihoods_are_those_of_their_own_function(case: Any, found: Found) -> None:
    """From one pass for every subset come the same numbers as from passes for every pair."""
    split = case.data.validation
    for given in case.model.masks[:-1]:
        expected = conditional_log_likelihood(case.model, split, 8, 7, 5, given=given)
        pairs = {None: expected.rest, **expected.modalities}
        for target, estimate in pairs.items():
            record = found["log_likelihood_conditional", given, target]
            value = float(estimate.log_p_N.mean())
            rest = len(expected.modalities) if target is None else 1
            if value > rest * MOST:  # which these blunt decoders and few samples make some
                assert math.isnan(record.value)
                continue
            assert record.value == pytest.approx(value)
            assert record.stderr == pytest.approx(float(estimate.log_p_N.std()) / math.sqrt(8))
        own = log_likelihood(case.model, split, 8, 7, 5, observed=given)
        assert found["log_likelihood", given, None].value == pytest.approx(float(own.log_p_N.mean()))
        assert found["ess", given, None].value == pytest.approx(float(own.ess_N.mean()))
        if given.bit_count() < 3:  # two samples or more from each proposal
            assert found["looseness", given, None].value == pytest.approx(float(own.rise_N.mean()))
            stderr = float(own.rise_N.std()) / math.sqrt(8)
            assert found["looseness", given, None].stderr == pytest.approx(stderr)
    assert ("log_likelihood_conditional", 7, None) not in found
    assert ("looseness", 7, None) not in found
    joint = log_likelihood(case.model, split, 8, 7, 5)
    assert found["log_likelihood", 7, None].value == pytest.approx(float(joint.log_p_N.mean()))
    assert found["ess", 7, None].value == pytest.approx(float(joint.ess_N.mean()))


def test_the_mean_of_conditional_likelihoods_is_known_by_sample(case: Any) -> None:
    """Its standard error is that of the samples' means, which no mean of the pairs' errors falls below."""
    config = replace(CONFIG, final_metrics=("conditional_likelihood",))
    found = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model)
    (own,) = (s for s in found.sample_values if s.metric == "log_likelihood_conditional")
    pairs = []
    for given in case.model.masks[:-1]:
        expected = conditional_log_likelihood(case.model, case.data.validation, 8, 7, 5, given=given)
        pairs += [estimate.log_p_N for estimate in expected.modalities.values()]
    assert len(pairs) == 9
    mean_N = torch.stack(pairs).double().mean(0)
    assert own.values == pytest.approx(mean_N.tolist())
    found = replace(found, subset_metrics=tuple(m for m in found.subset_metrics if m.error is None))
    quantity = measured("log_likelihood_conditional", found, case.model.names, 1, 1.0)
    assert quantity is not None
    assert quantity.stderr == pytest.approx(float(mean_N.std()) / math.sqrt(8))
    bound = measured("log_likelihood_conditional", replace(found, sample_values=()), case.model.names, 1, 1.0)
    assert bound is not None
    assert bound.stderr >= quantity.stderr


@pytest.mark.parametrize(("slope", "logvar", "allowed"), [(0.1, 0.0, True), (10.0, 3.0, False)])
def test_a_log_likelihood_that_a_categorical_does_not_allow_is_told(
    known: Callable[..., Any], modality: Callable[..., Any], *, slope: float, logvar: float, allowed: bool
) -> None:
    """A text's is 0 at most: log p(text | image) is right, or NaN where log p(image) is far too low."""
    case, logits = known((0.0, 0.0), n=40), torch.tensor([0.0, 2.0, 0.0, 0.0])
    image = modality(
        lambda x: (torch.zeros(len(x), 2), torch.full((len(x), 2), logvar)),
        lambda z: slope * z.repeat(1, 2),
        Normal(0.5),
    )
    text = modality(
        lambda x: (torch.zeros(len(x), 2), torch.zeros(len(x), 2)),
        lambda z: logits.expand(len(z), 4),
        Categorical(),
    )
    model = MoPoE({"m0": image, "m1": text}, 2, MethodSpec(prior_expert="none"))
    config = replace(CONFIG, final_metrics=("conditional_likelihood",), likelihood_samples=40)
    measured = Evaluator(case.data, case.classifiers, config, epochs=1).measure(model)
    found = {(m.metric, m.subset_mask, m.target): m for m in measured.subset_metrics}
    record = found["log_likelihood_conditional", 1, "m1"]
    if allowed:
        truth = float(torch.log_softmax(logits, 0)[case.data.validation.labels].mean())
        assert record.value == pytest.approx(truth, abs=0.05)
        assert record.error is None
    else:
        assert (math.isnan(record.value), record.stderr) == (True, None)
        assert re.fullmatch(
            r"log p\(m1 \| m0\) would be \d+\.\d+, but the likelihoods allow 0 at most: log p\(m0\) is too "
            r"loose; raise evaluation\.importance_samples",
            record.error,
        )


def test_a_marginal_above_what_a_likelihood_allows_is_told(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The posteriors are then to blame, since nothing is subtracted."""
    high = LogLikelihood(*(torch.full((8,), value, dtype=torch.float64) for value in (3.0, 1.0, 0.5)))
    monkeypatch.setattr(module, "log_likelihood", lambda *_, **__: high)
    context = module.EvalContext(data=case.data, classifiers=case.classifiers, config=CONFIG)
    config = replace(CONFIG, final_metrics=("conditional_likelihood",))
    metrics, _ = module.final_metrics(case.model, replace(context, config=config))
    found = {(m.metric, m.subset_mask): m for m in metrics if m.target is None}
    assert found["log_likelihood", 1].error == (
        f"log p(m0) would be 3, but the likelihoods allow {MOST:.6g} at most: the posteriors are too narrow "
        "for an estimate; lower lr"
    )
    assert math.isnan(found["log_likelihood", 7].value)
    assert found["looseness", 1].value == 0.5


def test_the_fitted_prior_replaces_the_prior(case: Any, found: Found) -> None:
    """Its draws are near those of posteriors, so that joint coherence is that of its function."""
    prior = fit_prior(case.model, case.data.train, module.FITTED, seed=5)
    expected = joint_coherence(case.model, case.classifiers, 80, 5, prior=prior).plain()
    record = found["joint_coherence_mixture", 0, None]
    assert (record.value, record.stderr, record.n) == (*expected, 80)
    assert expected != joint_coherence(case.model, case.classifiers, 80, 5).plain()


def test_classifiers_without_features_are_refused_before_training(known: Callable[..., Any]) -> None:
    """The sentence names the extra and the modality."""
    case = known((0.0, 0.0), n=4)
    with pytest.raises(ConfigError) as error:
        Evaluator(case.data, case.classifiers, CONFIG, epochs=1)
    assert str(error.value) == (
        "final_metrics contains frechet, but the classifier of 'm0' has no part `features`"
    )


def test_an_extra_that_fails_costs_its_own_number_alone(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN with the reason and the target; everything else is there as ever, objectives included."""
    real = frechet_distance

    def fails_once(a: torch.Tensor, b: torch.Tensor) -> float:
        if not seen.setdefault("frechet", 0):
            seen["frechet"] = 1
            raise torch.linalg.LinAlgError("eigh failed to converge")
        return real(a, b)

    seen: dict[str, int] = {}
    monkeypatch.setattr(module, "frechet_distance", fails_once)
    monkeypatch.setattr(module, "linear_probe", lambda *_, **__: 1 / 0)
    measured = Evaluator(case.data, case.classifiers, CONFIG, epochs=1).measure(case.model)
    failed = [m for m in measured.subset_metrics if m.error and not m.metric.startswith("log_likelihood")]
    assert [(m.metric, m.subset_mask, m.target, m.error) for m in failed] == [
        (
            "representation",
            0,
            None,
            f"ZeroDivisionError: division by zero; {__file__}:{fails_once.__code__.co_firstlineno + 8}",
        ),
        (
            "frechet",
            0,
            case.model.names[0],
            f"_LinAlgError: eigh failed to converge; {__file__}:{fails_once.__code__.co_firstlineno + 3}",
        ),
    ]
    assert all(math.isnan(m.value) for m in failed)
    for metric in ("frechet", "mmd"):
        assert sum(m.metric == metric for m in measured.subset_metrics) == 8 * 3
    assert all(map(math.isfinite, measured.objectives.values()))


def test_every_metric_of_a_final_metric_that_fails_has_the_reason(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each may be an objective, whose trial must say why it failed."""
    monkeypatch.setattr(module, "real_features", lambda *_: 1 / 0)
    config = replace(CONFIG, final_metrics=("frechet",))
    measured = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model)
    failed = {m.metric: m.error for m in measured.subset_metrics if m.error}
    assert list(failed) == ["frechet", "mmd"]
    assert all(error.startswith("ZeroDivisionError: division by zero") for error in failed.values())


def test_a_constant_decoder_explains_nothing_and_a_perfect_one_all(case: Any) -> None:
    """0 of the median's nll by the median itself, 1 by the samples themselves, less by something worse."""
    name = case.model.names[0]
    x = case.data.validation.batch(slice(0, CONFIG.likelihood_samples), CPU)[name]
    train = case.data.train.batch(slice(0, module.CONSTANT), CPU)[name]
    median = train.median(0, keepdim=True).values.expand_as(x)
    for output, expected in ((median, 0.0), (x, 1.0), (median + 9, -math.inf)):
        model = copy.deepcopy(case.model)
        model.likelihoods[name] = Laplace(0.5)
        model.log_prob = lambda z, x, style, output=output, model=model: {  # type: ignore[method-assign]
            n: model.likelihood(n).log_prob(output if n == name else x[n], x[n]) for n in x
        }
        context = module.EvalContext(data=case.data, classifiers=case.classifiers, config=CONFIG)
        rows = {
            (m.metric, m.target): m
            for m in module.reconstruction_metrics(model, context, case.data.validation)
        }
        share = rows["explained", name].value
        assert share == pytest.approx(expected, abs=1e-6) if math.isfinite(expected) else share < 0
        nll = -Laplace(0.5).log_prob(output, x).double().mean()
        assert rows["nll", name].value == pytest.approx(float(nll), rel=1e-6)


def test_a_modality_is_predicted_by_the_others_alone(case: Any, found: Found) -> None:
    """By hand from latents of the others' posterior; a modality itself changes nothing of its prediction."""
    model, split = case.model, case.data.validation
    n = CONFIG.likelihood_samples
    for m, name in enumerate(model.names):
        others = model.masks[-1] & ~(1 << m)
        hidden = replace(split, x=split.x | {name: 255 - split.x[name]})
        with torch.inference_mode():
            z, style, _ = source_latents(model, hidden, others, CONFIG.seed, "predicted", 0, n)
            x = split.batch(slice(0, n), CPU)[name]
            nll_N = -model.log_prob(z, {name: x}, style)[name].double()
            likelihood = model.likelihood(name)
            constant = module._constant_output(case.data, name, likelihood)
            baseline_N = -likelihood.log_prob(constant.expand_as(x), x).double()
        least = -likelihood.most(x[0].numel())
        record = found["predicted", others, name]
        assert record.value == pytest.approx(float((baseline_N - nll_N).mean() / (baseline_N.mean() - least)))
        # The jackknife of the ratio, which knows nothing of the formula.
        one_out = (~torch.eye(n, dtype=torch.bool)).double()
        ratios_N = (one_out @ (baseline_N - nll_N)) / (one_out @ (baseline_N - least))
        jackknife = math.sqrt((n - 1) * float(ratios_N.var(correction=0)))
        assert record.stderr == pytest.approx(jackknife, rel=0.3)


def test_what_is_trained_beside_networks_is_recorded(case: Any) -> None:
    """Learned mixture weights by subset, a learned scale by modality; nothing where neither is."""
    assert list(module.parameter_metrics(case.model)) == []
    model = copy.deepcopy(case.model)
    model.method = replace(model.method, learned_weights=True)
    model.weight_logits_S = nn.Parameter(torch.arange(7.0))
    model.likelihoods[model.names[1]] = Normal(0.5, learned=True)
    found = {(m.metric, m.subset_mask, m.target): m.value for m in module.parameter_metrics(model)}
    weights = torch.softmax(torch.arange(7.0).double(), 0).tolist()
    expected = {("mixture_weight", mask, None): w for mask, w in zip(model.masks, weights, strict=True)}
    assert found == pytest.approx(expected | {("likelihood_scale", 0, model.names[1]): 0.5})
