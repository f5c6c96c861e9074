"""The model: its subsets, weights and buffers, its parts by name, and its initialisation."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import Bernoulli, Laplace, Normal
from mopoe.methods import MethodSpec
from mopoe.model import Encoded, MoPoE, build_model
from mopoe.networks.base import Modality

CONFIG = TrialConfig(latent_dim=3, channels=(2, 2, 2))


def head(shift: float) -> nn.Module:
    """Return an encoder whose mean is the input plus a shift and whose log-variance is half of that."""

    class Head(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + shift, (x + shift) / 2

    return Head()


def two_vectors(**settings: object) -> MoPoE:
    """Return a model of two vectors as long as the latent space."""
    return MoPoE(
        {
            "a": Modality(head(0.0), nn.Identity(), Normal(0.5)),
            "b": Modality(head(1.0), nn.Tanh(), Bernoulli()),
        },
        2,
        MethodSpec(**settings),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("prior_expert", "expected"), [("none", [0, 0, 0]), ("full", [0, 0, 1]), ("all", [1, 1, 1])]
)
def test_the_prior_expert_enters_the_products_it_should(prior_expert: str, expected: list[float]) -> None:
    """Precision 1 is added to no product, the full set's, or all."""
    model = two_vectors(prior_expert=prior_expert)
    mu = torch.full((2, 1, 2), 3.0)
    nothing = torch.zeros(2, 1, 0)
    found_mu, precision = model.posteriors(Encoded(mu, torch.ones(2, 1, 2), nothing, nothing))
    counts = torch.tensor([1.0, 1.0, 2.0])
    prior = torch.tensor(expected)
    torch.testing.assert_close(precision[:, 0, 0], counts + prior)
    torch.testing.assert_close(found_mu[:, 0, 1], 3 * counts / (counts + prior))


def test_weights_are_those_of_the_subsets() -> None:
    """By default uniform; by size they are shared within the size."""
    assert two_vectors().weights_S.tolist() == pytest.approx([1 / 3] * 3, abs=1e-15)
    assert two_vectors(subset_weights=(0.4, 0.6)).weights_S.tolist() == pytest.approx([0.2, 0.2, 0.6])


def test_encoding_gives_precisions_in_the_order_of_the_modalities() -> None:
    """The precision is exp(-logvar), row m is modality m whatever the order of the samples' names."""
    x = {"b": torch.tensor([[0.5, 1.0]]), "a": torch.tensor([[2.0, 4.0]])}
    q = two_vectors().encode(x)
    mu, precision = q.mu_MBZ, q.precision_MBZ
    torch.testing.assert_close(mu, torch.tensor([[[2.0, 4.0]], [[1.5, 2.0]]]))
    torch.testing.assert_close(precision, torch.exp(-mu / 2))


def test_decoding_uses_each_modalitys_own_parts() -> None:
    """Outputs, means and densities of a modality come from its decoder and its likelihood."""
    model = two_vectors()
    z = torch.tensor([[0.3, -0.7]])
    x = {"a": torch.tensor([[0.1, 0.2]]), "b": torch.tensor([[1.0, 0.0]])}
    torch.testing.assert_close(model.decode(z), {"a": z, "b": z.tanh()})
    torch.testing.assert_close(model.means(z), {"a": z, "b": z.tanh().sigmoid()})
    expected = {
        "a": torch.distributions.Normal(z, 0.5).log_prob(x["a"]).sum(1),
        "b": torch.distributions.Bernoulli(logits=z.tanh()).log_prob(x["b"]).sum(1),
    }
    torch.testing.assert_close(model.log_prob(z, x), expected)


def test_no_modality_is_an_error() -> None:
    """A model needs at least one modality."""
    with pytest.raises(ConfigError, match=r"^the number of modalities is 0, but must be at least 1$"):
        MoPoE({}, 2)


def test_weights_of_another_number_of_modalities_are_an_error() -> None:
    """Five weights fit no model of two modalities."""
    with pytest.raises(ConfigError, match=r"^subset_weights has 5 numbers, but must have 2 .* or 3 "):
        two_vectors(subset_weights=(0.2,) * 5)


def test_buffers_are_not_saved() -> None:
    """A checkpoint holds learned weights alone; masks and mixture weights follow from the config."""
    assert set(two_vectors().state_dict()) == set()


def test_the_seed_fixes_every_weight_and_nothing_else_moves(tiny_data: MultimodalData) -> None:
    """Equal seeds give equal weights, others differ, and the global random state stays."""
    before = torch.random.get_rng_state()
    a, b = (build_model(CONFIG, tiny_data.modalities).state_dict() for _ in range(2))
    torch.rand(1)
    other = build_model(replace(CONFIG, seed=1), tiny_data.modalities).state_dict()
    torch.random.set_rng_state(before)
    build_model(CONFIG, tiny_data.modalities)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], other[k]) for k in a if k.endswith("weight"))


def test_modalities_start_with_different_weights(tiny_data: MultimodalData) -> None:
    """No two encoders are copies of each other."""
    twins = (tiny_data.modalities[0], replace(tiny_data.modalities[0], name="twin"))
    model = build_model(CONFIG, twins)
    assert not torch.equal(model.encoders["grey"].hidden.weight, model.encoders["twin"].hidden.weight)


def test_a_built_model_follows_its_config(tiny_data: MultimodalData) -> None:
    """Scale, latent size, colours and weights arrive where they act."""
    config = replace(CONFIG, likelihood_scale=0.3, subset_weights=(0.4, 0.6), prior_expert="none")
    model = build_model(config, tiny_data.modalities)
    for name, colours in (("grey", 1), ("colour", 3)):
        likelihood = model.likelihood(name)
        assert isinstance(likelihood, Laplace)
        assert likelihood.scale == 0.3
        assert model.decode(torch.zeros(1, 3))[name].shape == (1, colours, 28, 28)
    assert model.weights_S.tolist() == pytest.approx([0.2, 0.2, 0.6])
    assert model.prior_S.tolist() == [0, 0, 0]


def test_a_built_model_follows_its_method(tiny_data: MultimodalData) -> None:
    """The products used in evaluation have the prior where the method has it."""
    poe = build_model(replace(CONFIG, method="poe"), tiny_data.modalities)
    assert (poe.prior_S.tolist(), poe.weights_S.tolist(), poe.method.unimodal_elbos) == (
        [1] * 3,
        [0, 0, 1],
        True,
    )
    moe = build_model(replace(CONFIG, method="moe"), tiny_data.modalities)
    assert (moe.prior_S.tolist(), moe.method.unimodal_elbos) == ([0, 0, 1], False)
    assert (moe.weights_S.tolist(), moe.active_A.tolist()) == ([0.5, 0.5, 0], [0, 1])


def test_other_shapes_than_28_pixels_are_an_error() -> None:
    """The PolyMNIST networks' message names the modality and its shape, and says what to do."""
    network = "mopoe.networks.polymnist:image"
    with pytest.raises(ConfigError, match=r"^modality 't' has shape \[8\], but the PolyMNIST networks read "):
        build_model(CONFIG, (ModalitySpec(name="t", shape=(8,), network=network),))
    with pytest.raises(ConfigError, match=r"has shape \[3, 32, 32\].*name other networks in its Mod"):
        build_model(CONFIG, (ModalitySpec(name="t", shape=(3, 32, 32), network=network),))
