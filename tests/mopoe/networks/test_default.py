"""Default networks: every shape is read and written, all kinds of modality train, alike ones share a bank."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mopoe
from mopoe.bank import Layered, banks, layers_of
from mopoe.config import TrialConfig
from mopoe.data.registry import Distribution, ModalitySpec
from mopoe.errors import ConfigError
from mopoe.networks import build_modality
from mopoe.networks.base import BatchNorm, Layer
from mopoe.networks.polymnist import image

CONFIG = TrialConfig(channels=(2, 3, 4), hidden_widths=(7, 6), initialisation="he")
SHAPES = [(1, 16, 16), (3, 33, 20), (2, 17, 128), (3, 64, 64), (5,), (4, 6), (1, 28, 28)]


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_of_any_shape_are_read_and_written(shape: tuple[int, ...]) -> None:
    """Images of even and odd sides, vectors and matrices: encoded to a width, decoded to their shape."""
    parts = build_modality(CONFIG, ModalitySpec(name="a", shape=shape), 9)
    x = torch.rand(3, *shape)
    assert [tuple(out.shape) for out in parts.encoder(x)] == [(3, 9)] * 2
    output = parts.decoder(torch.randn(3, 9))
    assert output.shape == x.shape
    assert parts.likelihood.log_prob(output, x).shape == (3,)


@pytest.mark.parametrize("length", [1, 4, 5, 8, 37])
def test_symbols_of_any_length_are_read_and_written(length: int) -> None:
    """As numbers of symbols, as probabilities, and as one-hot samples, which are scored alike."""
    numbers = torch.randint(0, 6, (3, length), dtype=torch.int8)
    hot = nn.functional.one_hot(numbers.long(), 6).transpose(1, 2).float()
    spec = ModalitySpec(name="a", shape=(length,), symbols=6)
    one_hot = ModalitySpec(name="a", shape=(6, length), likelihood="categorical")
    parts, same = (build_modality(CONFIG, m, 9) for m in (spec, one_hot))
    same.encoder.load_state_dict(parts.encoder.state_dict())
    assert torch.equal(parts.encoder(numbers)[0], same.encoder(hot)[0])
    output = parts.decoder(torch.randn(3, 9))
    assert output.shape == (3, 6, length) == same.decoder(torch.randn(3, 9)).shape
    scored = [parts.likelihood.log_prob(output, x) for x in (numbers, hot)]
    torch.testing.assert_close(*scored)
    assert parts.encoder(parts.likelihood.mean(output))[0].shape == (3, 9)


def test_images_of_28_pixels_have_the_networks_of_polymnist() -> None:
    """To the bit, as they had them before there were others."""
    spec = ModalitySpec(name="a", shape=(3, 28, 28))
    torch.manual_seed(0)
    parts = build_modality(CONFIG, spec, 9)
    torch.manual_seed(0)
    expected = image(CONFIG, spec, 9)
    for one, other in ((parts.encoder, expected.encoder), (parts.decoder, expected.decoder)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_hidden_widths_are_those_of_the_linear_layers() -> None:
    """In their order from the data to the latents, and back."""
    parts = build_modality(CONFIG, ModalitySpec(name="a", shape=(5,)), 9)
    sizes = [
        [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
        for network in (parts.encoder, parts.decoder)
    ]
    assert sizes == [[(5, 7), (7, 6), (6, 9), (6, 9)], [(9, 6), (6, 7), (7, 5)]]


def test_like_vectors_share_a_bank() -> None:
    """Their encoders are computed together, and so are their decoders."""
    parts = {name: build_modality(CONFIG, ModalitySpec(name=name, shape=(5,)), 9) for name in "ab"}
    for side in ("encoder", "decoder"):
        (bank,) = banks({name: getattr(p, side) for name, p in parts.items()})
        assert bank.names == ("a", "b")


def made(shape: tuple[int, ...], **options: object) -> tuple[mopoe.Modality, ModalitySpec]:
    """Return the default networks of a shape with options."""
    spec = ModalitySpec(name="a", shape=shape)
    return build_modality(replace(CONFIG, network=options), spec, 9), spec


@pytest.mark.parametrize("shape", [(5,), (3, 33, 20), (1, 28, 28)])
def test_options_are_of_the_hidden_linear_layers(shape: tuple[int, ...]) -> None:
    """Each is normalised before its ReLU and thinned out after it; weights begin as without."""
    torch.manual_seed(0)
    plain = [*made(shape)[0].encoder.state_dict().values()]
    for kind, norm in (("layer", nn.LayerNorm), ("batch", nn.BatchNorm1d)):
        torch.manual_seed(0)
        parts, _ = made(shape, dropout=0.5, normalisation=kind)
        for network in (parts.encoder, parts.decoder):
            assert isinstance(network, nn.Sequential | Layered)
            found = layers_of(network)
            hidden = [i for i, layer in enumerate(found[:-1]) if isinstance(layer, nn.Linear)]
            hidden = [i for i in hidden if i + 1 < len(found) and isinstance(found[i + 1], norm)]
            assert len(hidden) == (1 if shape[1:] == (28, 28) else 2)
            assert all(isinstance(found[i + 2], nn.ReLU) for i in hidden)
            assert all(isinstance(layer := found[i + 3], nn.Dropout) and layer.p == 0.5 for i in hidden)
        weights = [
            p for m in parts.encoder.modules() if isinstance(m, Layer) for p in m.state_dict().values()
        ]
        assert all(torch.equal(a, b) for a, b in zip(weights, plain, strict=True))


@pytest.mark.parametrize("shape", [(5,), (1, 28, 28)])
def test_dropout_and_batches_act_in_training_alone(shape: tuple[int, ...]) -> None:
    """In training two passes differ, and a sample depends on its batch; in use neither is so."""
    x, z = torch.rand(6, *shape), torch.randn(6, 9)
    for options, random in (({"dropout": 0.5}, True), ({"normalisation": "batch"}, False)):
        parts, _ = made(shape, **options)
        for network, given in ((parts.encoder, x), (parts.decoder, z)):

            def of(some: torch.Tensor, network: nn.Module = network) -> torch.Tensor:
                out = network(some)
                return out[0] if isinstance(out, tuple) else out

            assert torch.equal(of(given), of(given)) != random
            assert not torch.allclose(of(given)[:3], of(given[:3]), atol=1e-4)
            network.eval()
            assert torch.equal(of(given), of(given))
            torch.testing.assert_close(of(given)[:3], of(given[:3]))


def test_a_batch_of_one_is_normalised_by_the_running_statistics() -> None:
    """The last batch of an epoch may have one sample, of which a variance is not defined."""
    norm = BatchNorm(3)
    norm.train()(torch.tensor([[1.0, 2, 3], [3, 2, 1]]))
    one = torch.ones(1, 3)
    expected = (one - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(norm(one), expected)
    torch.testing.assert_close(norm.eval()(one), expected)


def test_widths_may_be_those_of_one_modality() -> None:
    """In place of the setting; images of 28 x 28 pixels have none."""
    parts, _ = made((5,), hidden_widths=[3])
    assert [m.out_features for m in parts.decoder.modules() if isinstance(m, nn.Linear)] == [3, 5]
    with pytest.raises(ConfigError) as error:
        made((1, 28, 28), hidden_widths=[3])
    assert str(error.value) == (
        "modality 'a' has images of 28 x 28 pixels, whose networks have no hidden_widths; use channels and "
        "latent_dim"
    )


def test_symbols_in_several_axes_are_refused() -> None:
    """One sentence says which shapes there are networks for."""
    spec = ModalitySpec(name="a", shape=(4, 5), symbols=3)
    with pytest.raises(ConfigError, match=r"^modality 'a' has shape \[4, 5\], but the default networks of"):
        build_modality(CONFIG, spec, 9)


def factors(n: int) -> tuple[dict[str, np.ndarray], dict[str, Distribution]]:
    """Make n samples of all kinds of modality that one hidden number decides, and their likelihoods."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 1))
    switch = (z > 0).astype(int)
    arrays = {
        "vector": z * np.arange(1, 5) + 0.1 * rng.normal(size=(n, 4)),
        "counts": rng.poisson(20 * np.exp(z * [1, -1, 0.5])),
        "spread": rng.poisson(300 * rng.gamma(2, 0.5, (n, 3)) * np.exp(z)),
        "binary": (rng.random((n, 6)) < 0.1 + 0.8 * switch),
        "word": np.where(rng.random((n, 5)) < 0.9, 2 * switch, 1),
        "hot": np.eye(2)[switch[:, 0]][:, :, None].repeat(3, 2),
        "picture": 255 * np.ones((1, 18, 20)) * switch[:, :, None, None],
    }
    arrays["picture"] = arrays["picture"].astype(np.uint8)
    kinds: dict[str, Distribution] = {
        "vector": "normal",
        "counts": "poisson",
        "spread": "negative_binomial",
        "binary": "bernoulli",
        "word": "categorical",
        "hot": "categorical",
    }
    return arrays, kinds


def test_all_kinds_of_modality_train_without_labels_and_networks() -> None:
    """Each is explained by what they share: its negative log-likelihood falls below that of one constant."""
    arrays, likelihoods = factors(400)
    data = mopoe.data_from_arrays(arrays, likelihoods=likelihoods)
    assert {m.name: m.symbols for m in data.modalities if m.symbols} == {"word": 3}
    assert data.train.x["word"].dtype == torch.int8
    assert data.modalities[1].scale == pytest.approx(np.mean(arrays["counts"], 0), rel=1e-6)
    config = replace(CONFIG, hidden_widths=(32,), latent_dim=2, beta=1.0, lr=5e-3, batch_size=40, epochs=8)
    config = replace(config, subset_weights=(0, 0, 0, 0, 0, 0, 1), likelihood_weights="none")
    reports: list[mopoe.EpochReport] = []
    evaluation = mopoe.EvaluationConfig(coherence_samples=4, likelihood_samples=40, importance_samples=4)
    evaluator = mopoe.Evaluator(data, mopoe.load_classifiers(data), evaluation, epochs=8)
    mopoe.train(config, data, reports.append, evaluate=evaluator)
    measured = reports[-1].evaluation
    assert measured is not None
    assert set(measured.objectives) == {"log_likelihood"}
    assert {p.target for p in measured.pictures if p.png} == {"hot", "picture"}
    assert {p.target for p in measured.pictures if p.texts} == {"word"}
    assert {p.target for p in measured.pictures if p.values} == {"vector", "counts", "spread", "binary"}
    first, last = reports[0].reconstruction, reports[-1].reconstruction
    assert {name for name in first if last[name] >= first[name]} == set()
    explained = {m.target: m.value for m in measured.subset_metrics if m.metric == "explained"}
    assert set(explained) == {"vector", "counts", "spread", "binary", "picture"}
    assert min(explained.values()) > 0.05, explained


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [("counts", -1, "-1"), ("spread", 0.5, "0.5"), ("binary", 2, "2"), ("word", 127, "127"), ("hot", 3, "3")],
)
def test_numbers_that_a_likelihood_cannot_give_are_refused(name: str, value: float, found: str) -> None:
    """With what was found and what is possible."""
    arrays, likelihoods = factors(40)
    arrays[name] = arrays[name].astype(float)
    arrays[name][3, ..., 1] = value
    with pytest.raises(
        mopoe.errors.DataError, match=f"^train: '{name}' has {found}, but {likelihoods[name]} has"
    ):
        mopoe.data_from_arrays(arrays, likelihoods=likelihoods)


def test_a_likelihood_is_of_a_modality_with_default_networks() -> None:
    """A name that does not exist, networks of one's own, and an unknown word are refused."""
    arrays, _ = factors(40)
    for name, kind, networks in (
        ("vectr", "normal", {}),
        ("vector", "normal", {"vector": "a:b"}),
        ("counts", "poison", {}),
    ):
        with pytest.raises(ConfigError) as error:
            mopoe.data_from_arrays(arrays, networks=networks, likelihoods={name: kind})
        others = [n for n in arrays if n not in networks]
        assert str(error.value) == (
            f"likelihoods has {kind!r} for {name!r}, but must have some of normal, poisson, "
            "negative_binomial, bernoulli, categorical for modalities of default networks: "
            + ", ".join(others)
        )
