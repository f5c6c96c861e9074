"""The paper's trimodal networks: their size, their shapes, their likelihoods."""

from dataclasses import replace

import pytest
import torch

from mopoe.config import TrialConfig
from mopoe.data.formats import encode
from mopoe.data.registry import DATA_SETS
from mopoe.errors import ConfigError
from mopoe.likelihoods import Categorical, Laplace
from mopoe.model import build_model
from mopoe.networks import build_modality

SPECS = DATA_SETS["mnist_svhn_text"].modalities


def test_the_papers_model_has_1_4_million_parameters() -> None:
    """1,411,826 at latent_dim 20, the sum over the paper's layers: 652,824, 470,123 and 288,879."""
    model = build_model(TrialConfig(latent_dim=20), SPECS)
    sizes = [
        sum(p.numel() for part in (model.encoders[m.name], model.decoders[m.name]) for p in part.parameters())
        for m in SPECS
    ]
    assert sizes == [652_824, 470_123, 288_879]
    assert sum(p.numel() for p in model.parameters()) == sum(sizes) == 1_411_826


@pytest.mark.parametrize("spec", SPECS, ids=[m.name for m in SPECS])
@pytest.mark.parametrize("kind", ["torch", "he"])
def test_samples_are_encoded_and_decoded_to_their_shape(spec, kind) -> None:
    """Heads of the width; log p(x | z) of each sample; a mean in the data's unit."""
    parts = build_modality(TrialConfig(initialisation=kind, likelihood_scale=0.5), spec, 6)
    x = encode(["two     "] * 3) if spec.name == "text" else torch.rand(3, *spec.shape)
    mu, logvar = parts.encoder(x)
    assert mu.shape == logvar.shape == (3, 6)
    out = parts.decoder(torch.randn(3, 6))
    assert out.shape == ((3, 71, 8) if spec.name == "text" else x.shape)
    assert parts.likelihood.log_prob(out, x).shape == (3,)
    mean = parts.likelihood.mean(out).detach()
    if spec.name == "text":
        assert isinstance(parts.likelihood, Categorical)
        torch.testing.assert_close(mean.sum(1), torch.ones(3, 8))
        # Nothing is learned yet: each of eight characters is about one of 71.
        assert float(parts.likelihood.log_prob(out, x).detach().mean()) == pytest.approx(-8 * 4.263, rel=0.15)
    else:
        assert isinstance(parts.likelihood, Laplace)
        assert parts.likelihood.scale == 0.5
    if spec.name == "mnist":
        assert 0 < float(mean.min()) < float(mean.max()) < 1


def test_other_shapes_are_a_sentence() -> None:
    """It names the modality, its shape and the networks."""
    for spec in SPECS:
        with pytest.raises(ConfigError) as error:
            build_modality(TrialConfig(), replace(spec, shape=(2, 5)), 6)
        assert str(error.value) == (
            f"modality {spec.name!r} has shape [2, 5], but its networks ({spec.network}) read "
            f"{list(spec.shape)}; name other networks in its ModalitySpec"
        )
