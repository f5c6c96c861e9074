"""Networks computed together give what they give one by one, and their parameters stay their own."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_runs import CONFIG, same_weights

from mopoe import bank as module
from mopoe import convolutions, training
from mopoe.bank import banks, stacked
from mopoe.batch_loss import batch_loss
from mopoe.checkpoint import load_model
from mopoe.data.container import MultimodalData, Split
from mopoe.data.registry import COVARIATES, Covariate, ModalitySpec
from mopoe.kernels import library
from mopoe.likelihoods import Bernoulli, Laplace, Normal
from mopoe.model import MoPoE, build_model
from mopoe.networks.base import Encoder, Modality
from mopoe.training import hide, loss_weights, step_draws, train

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(library(torch.float64) is None, reason="needs a C compiler")
SETTINGS = [
    {},
    {"mixture": "all", "style_dim": 2, "style_outside": "auxiliary"},
    {"missing": 0.4, "style_dim": 2, "learned_scale": True},
    {"method": "poe"},
    {"method": "moe", "posterior": "laplace", "estimator": "dreg", "samples": 2},
    {"method": "mvtcae", "likelihood": "bernoulli"},
    {"likelihood": "normal"},
    {"method": "mmjsd", "missing": 0.4},
    {"aggregation": "hellinger"},
]


@pytest.fixture(scope="module")
def data():
    """Return 22 samples of images: two modalities of one shape and three of another, in mixed order."""
    rng = torch.Generator().manual_seed(5)
    specs = [ModalitySpec(name=f"m{i}", shape=(n, 28, 28)) for i, n in enumerate((3, 1, 3, 3, 1))]
    x = {m.name: torch.randint(0, 256, (22, *m.shape), generator=rng, dtype=torch.uint8) for m in specs}
    split = Split(x, torch.arange(22) % 4)
    return MultimodalData(
        name="five",
        options={},
        fingerprint="five",
        modalities=tuple(specs),
        n_classes=4,
        train=split,
        validation=split,
        test=split,
    )


def loss_and_gradients(model, config, data, dtype, n=22):
    """Return the loss of the first samples, and the gradient of every parameter by name."""
    split = hide(data.train, config)
    x = {name: t.to(dtype) for name, t in split.batch(torch.arange(n), CPU).items()}
    present = None if split.present is None else split.present[:n].t()
    draws = step_draws(config, model, 3, n, present)
    numbers = {name: getattr(draws, name) for name in ("noise", "unimodal_MBZ", "style_MBW")}
    draws = replace(draws, **{name: t if t is None else t.to(dtype) for name, t in numbers.items()})
    terms = batch_loss(model, config, CPU)(x, draws, loss_weights(config, data), present)
    terms.loss.backward()
    found = {id(p): p.grad for p in model.parameters()}
    for stack in model.stacks:
        found |= zip(map(id, stack.parameters), stack.views(stack.leaf.grad), strict=True)
    return terms.loss.detach(), {name: found[id(p)] for name, p in model.named_parameters()}


def together(model):
    """Return a model that trains its networks together."""
    model.bank()
    return model


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-2)])
def test_losses_and_gradients_are_those_of_the_networks_one_by_one(data, settings, dtype, tolerance):
    """In float64 to rounding; in float32 relative to each parameter's largest gradient."""
    config = replace(CONFIG, **settings)
    plain, banked = (build_model(config, data.modalities).to(dtype) for _ in range(2))
    loss, expected = loss_and_gradients(plain, config, data, dtype)
    ours, found = loss_and_gradients(together(banked), config, data, dtype)
    assert float(abs(ours - loss) / abs(loss)) < tolerance
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) <= tolerance * float(gradient.abs().max()), name


@pytest.mark.parametrize("settings", [{}, {"style_dim": 2, "mixture": "all"}, {"method": "poe"}])
def test_covariates_are_read_by_networks_together_as_one_by_one(settings):
    """Losses, gradients and means of two vectors that share a bank on each side."""
    rng = torch.Generator().manual_seed(5)
    x = {name: torch.randn(22, 4, generator=rng) for name in ("a", "b", COVARIATES)}
    given = tuple(Covariate(name=f"c{i}") for i in range(4))
    specs = tuple(ModalitySpec(name=name, shape=(4,), covariates=given) for name in "ab")
    split = Split(x, torch.zeros(22, 0))
    parts = {"train": split, "validation": split, "test": split}
    data = MultimodalData(name="x", options={}, fingerprint="x", modalities=specs, n_classes=0, **parts)
    config = replace(CONFIG, hidden_widths=(6,), **settings)
    plain, banked = (build_model(config, specs).double() for _ in range(2))
    loss, expected = loss_and_gradients(plain, config, data, torch.float64)
    ours, found = loss_and_gradients(together(banked), config, data, torch.float64)
    assert [bank.names for side in banked.banks for bank in side] == [("a", "b")] * 2
    assert float(abs(ours - loss)) < 1e-10
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-10, rtol=1e-9)
    z, c = torch.randn(22, 3, generator=rng).double(), x[COVARIATES]
    for name, mean in plain.means(z, None, c).items():
        torch.testing.assert_close(banked.mean(name, z, None, c), mean)
    inner = split.batch(slice(0, 9), CPU, innermost=True)
    assert all(torch.equal(t, x[name][:9]) for name, t in inner.items())


def test_both_ways_go_on_from_each_others_checkpoint(data, tmp_path, monkeypatch):
    """The file is the same but for rounding, and training goes on as if nothing had changed."""
    config = replace(CONFIG, epochs=4)
    results = {}
    for first, second in (("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")):
        path = tmp_path / f"{first}{second}.safetensors"
        for epochs, kernels in ((2, first), (4, second)):
            library.cache_clear()
            monkeypatch.setenv("MOPOE_KERNELS", kernels)
            model = train(replace(config, epochs=epochs), data, bool, checkpoint=path)
        results[first, second] = model.state_dict()
    library.cache_clear()
    for found in results.values():
        for name, expected in results["0", "0"].items():
            assert torch.allclose(found[name], expected, rtol=1e-2, atol=1e-4), name


def test_two_hundred_steps_stay_beside_a_plain_trainer(data, monkeypatch):
    """The losses of every epoch agree to the rounding of float32."""
    config, losses = replace(CONFIG, epochs=67), {}
    for kernels in ("0", "1"):
        library.cache_clear()
        monkeypatch.setenv("MOPOE_KERNELS", kernels)
        losses[kernels] = []
        train(config, data, lambda report, kernels=kernels: losses[kernels].append(report.loss))
    library.cache_clear()
    assert losses["1"] == pytest.approx(losses["0"], rel=2e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_stacks_are_decayed_and_clipped_as_their_parts(data, monkeypatch, optimizer):
    """Nine steps of networks computed together, and one by one, agree to rounding; the settings act."""
    config = replace(CONFIG, optimizer=optimizer, weight_decay=2.0, grad_clip=100.0)
    together, others = train(config, data, bool), ({}, {"weight_decay": 0.0}, {"grad_clip": 0.0})
    monkeypatch.setattr(training, "banks_fit", lambda *_: False)
    alone = [train(replace(config, **settings), data, bool).state_dict() for settings in others]
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, alone[0][name], rtol=1e-4, atol=1e-5, msg=name)
    for other in alone[1:]:
        assert max(float((other[name] - alone[0][name]).abs().max()) for name in other) > 1e-3


def test_parameters_are_views_of_stacks_that_train(data, tmp_path):
    """What an optimizer changes, the networks and `state_dict` see; a checkpoint loads into a plain model."""
    model = together(build_model(CONFIG, data.modalities))
    before = copy.deepcopy(model.state_dict())
    for tensor in model.trained:
        tensor.data.add_(1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] + 1), name
    path = tmp_path / "c.safetensors"
    trained = train(replace(CONFIG, epochs=1), data, bool, checkpoint=path)
    assert same_weights(trained, load_model(path, data.modalities))


def test_a_trained_model_can_be_trained_on_by_anybody(data):
    """After `train` gradients go to the parameters again, also if a callback has ended it."""
    model = build_model(CONFIG, data.modalities)

    def on_report(report):
        assert model.stacks
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, data, on_report, model=model)
    assert not model.stacks
    x = data.train.batch(slice(0, 8), CPU)
    model.encode(x).mu_MBZ.square().sum().backward()
    assert all(p.grad is not None for p in model.encoders["m0"].mu.parameters())


def test_a_copy_or_a_moved_model_computes_by_itself(data):
    """Its parameters are no views any more, so it must not use the stacks of the original."""
    model = together(build_model(CONFIG, data.modalities)).eval()
    x = data.train.batch(slice(0, 8), CPU)
    with torch.no_grad():
        expected = model.encode(x).mu_MBZ
        other = copy.deepcopy(model)
        for p in other.parameters():
            p.zero_()
        assert not other.encode(x).mu_MBZ.any()
        assert torch.equal(model.encode(x).mu_MBZ, expected)
        double = copy.deepcopy(model).double()
        found = double.encode({name: t.double() for name, t in x.items()}).mu_MBZ
    assert torch.allclose(found, expected.double(), atol=1e-4)


def test_one_decoder_of_a_bank_gives_its_own_output(data):
    """As coherence asks for one modality at a time; all together give the same."""
    model = together(build_model(CONFIG, data.modalities)).eval()
    z = torch.randn(40, CONFIG.latent_dim)
    with torch.no_grad():
        means = model.means(z)
        for name in model.names:
            plain = model.likelihood(name).mean(model.decoders[name](z))
            for found in (model.mean(name, z), means[name]):
                assert torch.allclose(found, plain, atol=1e-5)


def chains(n_features, likelihood, n=2):
    """Return modalities of vectors whose networks are chains of layers."""
    return {
        f"v{i}": Modality(
            Encoder([nn.Linear(n_features, 7), nn.Tanh(), nn.Linear(7, 5), nn.ReLU()], 5, 3),
            nn.Sequential(nn.Linear(3, 6, bias=False), nn.Softplus(), nn.Linear(6, n_features)),
            likelihood(),
        )
        for i in range(n)
    }


@pytest.mark.parametrize("likelihood", [Normal, Laplace, Bernoulli])
def test_vectors_profit_without_a_compiler(likelihood, monkeypatch):
    """Linear layers are batched products of torch; one vector modality alone has nothing to gain."""
    library.cache_clear()
    monkeypatch.setenv("MOPOE_KERNELS", "0")
    model = MoPoE(chains(4, likelihood), 3).double()
    x = {name: torch.rand(9, 4, dtype=torch.float64) for name in model.names}
    expected = model.log_prob(model.encode(x).mu_MBZ[0], x)
    together(model)
    assert len(model.stacks) == 2 * 3 + 3
    found = model.log_prob(model.encode(x).mu_MBZ[0], x)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-12)
    assert not together(MoPoE(chains(4, likelihood, n=1), 3)).stacks
    library.cache_clear()


@pytest.mark.parametrize("settings", SETTINGS[1:3])
def test_torchs_grouped_convolutions_give_the_same(data, settings, monkeypatch):
    """Without compiled code, if asked for: losses and gradients in float64 to rounding; by default none."""
    library.cache_clear()
    monkeypatch.setenv("MOPOE_KERNELS", "0")
    config = replace(CONFIG, **settings)
    plain, banked = (build_model(config, data.modalities).double() for _ in range(2))
    banked.bank()
    assert not banked.stacks
    monkeypatch.setattr(convolutions, "GROUPED", True)
    banked.bank()
    assert len(banked.stacks) == 2 * (2 * 5 + 2 * 4)
    (loss, expected), (loss_too, found) = (
        loss_and_gradients(model, config, data, torch.float64) for model in (plain, banked)
    )
    assert torch.allclose(loss, loss_too, rtol=1e-12)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-10, atol=1e-10), name
    library.cache_clear()


def test_networks_that_differ_in_dropout_are_apart():
    """Of three with one width, two that leave out the same share are computed together."""
    shares = {"a": 0.1, "b": 0.2, "c": 0.1}
    (bank,) = banks({n: nn.Sequential(nn.Linear(3, 4), nn.Dropout(p)) for n, p in shares.items()})
    assert bank.names == ("a", "c")


@pytest.mark.parametrize("first", [True, False])
def test_each_network_loses_other_parts(first):
    """Also of an input that is the same for all; the mean stays what it was, and in use all is left."""
    dropout, linear = nn.Dropout(0.25), nn.Linear(400, 400, bias=False)
    nn.init.eye_(linear.weight)
    networks = {
        n: copy.deepcopy(nn.Sequential(*((dropout, linear) if first else (linear, dropout)))) for n in "ab"
    }
    (bank,) = banks(networks)
    torch.manual_seed(0)
    a, b = bank(torch.ones(1, 400, 50)).detach()
    for out in (a, b, *bank(torch.ones(1, 400, 50), slice(1, 2)).detach()):
        assert out.unique().tolist() == pytest.approx([0, 4 / 3])
        assert float(out.mean()) == pytest.approx(1, abs=0.02)
    assert float(((a == 0) & (b == 0)).double().mean()) == pytest.approx(1 / 16, abs=0.01)
    for network in networks.values():
        network.eval()
    assert torch.equal(bank(torch.ones(1, 400, 50)), torch.ones(2, 400, 50))


class Halved(Encoder):
    """An encoder whose class overrides `forward`, but not `layers`."""

    def forward(self, x):
        """Return half of what its layers give."""
        mu, logvar = super().forward(x)
        return mu / 2, logvar


class Named(nn.Module):
    """A network of a user's own that happens to have layers of that name."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 2))


def test_networks_that_share_parameters_are_left_alone():
    """They are views of one stack at most: of encoders with one another, or with a decoder."""
    one = nn.Sequential(nn.Linear(3, 3))
    assert banks({"a": one, "b": one}) == ()
    tied = {
        n: Modality(m.encoder, nn.Sequential(m.encoder.mu), Normal()) for n, m in chains(4, Normal).items()
    }
    assert not together(MoPoE(tied, 3)).stacks


def computed_weight():
    """Return a layer whose weight is no parameter, as `weight_norm` leaves it."""
    layer = nn.Linear(2, 2)
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    return nn.Sequential(layer)


def test_other_networks_are_left_alone():
    """Networks of a user's own, frozen ones, layers that mix samples, and convolutions of many channels."""
    halved = {name: Halved([nn.Linear(2, 2)], 2, 2) for name in "ab"}
    named = {name: Named() for name in "ab"}
    own = {"a": nn.Bilinear(2, 2, 2), "b": nn.Bilinear(2, 2, 2)}
    normed = {name: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for name in "ab"}
    frozen = {name: nn.Sequential(nn.Linear(2, 2)).requires_grad_(False) for name in "ab"}
    wide = {name: nn.Sequential(nn.Conv2d(3, module.MOST_CHANNELS + 1, 3)) for name in "ab"}
    dilated = {name: nn.Sequential(nn.Conv2d(3, 3, 3, dilation=2)) for name in "ab"}
    computed = {name: computed_weight() for name in "ab"}
    for networks in (halved, named, computed, own, normed, frozen, wide, dilated):
        assert banks(networks) == ()


def test_samples_that_lie_side_by_side_are_not_copied(data):
    """As training batches do; any others are."""
    x = data.train.batch(torch.arange(6), CPU, innermost=True)
    plain = data.train.batch(torch.arange(6), CPU)
    alike = [x[name] for name in ("m0", "m2", "m3")]
    found = stacked(alike)
    assert found.data_ptr() == alike[0].data_ptr()
    copied = stacked([plain[name] for name in ("m0", "m2", "m3")])
    assert torch.equal(found, copied)
    assert copied.data_ptr() != plain["m0"].data_ptr()
    assert torch.equal(stacked([alike[0], alike[2]]), copied[[0, 2]])
    for name, value in x.items():
        assert torch.equal(value, plain[name])
