"""Evaluation in bfloat16: what is computed in it, what is not, and how near its numbers are."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from mopoe.config import TrialConfig
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from mopoe.evaluation.coherence import conditional_coherence
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation.log_likelihood import joint_log_likelihood
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import MoPoE
from mopoe.training import train

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    epochs=20, batch_size=11, latent_dim=8, channels=(4, 8, 16), initialisation="he", lr=3e-3, beta=0.1
)


@pytest.fixture(scope="module")
def trained(tiny_data: "MultimodalData") -> MoPoE:
    """A small model after 40 steps."""
    return train(CONFIG, tiny_data, lambda _: None).eval()


@pytest.fixture(scope="module")
def classifiers(tiny_data: "MultimodalData") -> Classifiers:
    """Untrained classifiers."""
    torch.manual_seed(0)
    networks = {m.name: ImageClassifier(m.shape[0], 4).eval() for m in tiny_data.modalities}
    return Classifiers(networks=networks, accuracy={}, hash="")


def half() -> torch.autocast:
    """Return the context of bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("likelihood", ["laplace", "normal", "bernoulli"])
def test_densities_of_bfloat16_outputs_are_float32(tiny_data: "MultimodalData", likelihood: str) -> None:
    """Each log density is the float64 one of the decoder's bfloat16 output, to float32's rounding."""
    config = replace(CONFIG, epochs=1, likelihood=likelihood)  # type: ignore[arg-type] # one of its words
    model = train(config, tiny_data, lambda _: None).eval()
    x = tiny_data.validation.batch(slice(0, 12), CPU)
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), half():
        found = model.log_prob(z, x)
        for name, a in x.items():
            output = model.decoders[name](z)
            assert output.dtype == torch.bfloat16
            expected = model.likelihood(name).log_prob(output.double(), a.double())
            torch.testing.assert_close(found[name].double(), expected, rtol=2e-6, atol=0)


def test_log_likelihoods_of_both_precisions_agree(trained: MoPoE, tiny_data: "MultimodalData") -> None:
    """They differ, as the decoders' rounding acts, by less than 1 nat in thousands; per sample, 3e-4."""
    full = joint_log_likelihood(trained, tiny_data.test, 12, 30, 0)
    with half():
        found = joint_log_likelihood(trained, tiny_data.test, 12, 30, 0)
    assert full.dtype == found.dtype == torch.float64
    assert not torch.equal(full, found)
    torch.testing.assert_close(found, full, rtol=3e-4, atol=0)


def test_posteriors_do_not_depend_on_the_precision(
    trained: MoPoE, classifiers: Classifiers, tiny_data: "MultimodalData"
) -> None:
    """KLs and the health of posteriors are the same to the bit, as encoders stay in float32."""
    full = conditional_coherence(trained, tiny_data.test, classifiers, 12, 0)
    with half():
        found = conditional_coherence(trained, tiny_data.test, classifiers, 12, 0)
    assert torch.equal(found.kl_NS, full.kl_NS)
    assert torch.equal(found.diagnostics.kl_S, full.diagnostics.kl_S)
    assert torch.equal(found.diagnostics.active_S, full.diagnostics.active_S)


def test_the_evaluators_precision_acts(
    trained: MoPoE, classifiers: Classifiers, tiny_data: "MultimodalData"
) -> None:
    """bfloat16 gives the log-likelihood under autocast, the default that without; pictures are drawn too."""
    config = EvaluationConfig(likelihood_samples=12, importance_samples=30, joint_samples=50, pictures=2)
    plain = float(joint_log_likelihood(trained, tiny_data.validation, 12, 30, 0).mean())
    with half():
        rounded = float(joint_log_likelihood(trained, tiny_data.validation, 12, 30, 0).mean())
    assert plain != rounded
    for precision, expected in (("float32", plain), ("bfloat16", rounded)):
        c = replace(config, precision=precision)  # type: ignore[arg-type] # one of its words
        found = Evaluator(tiny_data, classifiers, c, epochs=1).measure(trained)
        assert found.objectives["log_likelihood"] == expected
        assert len(found.pictures) == 9
