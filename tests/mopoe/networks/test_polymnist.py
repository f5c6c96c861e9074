"""The paper's encoders and decoders: their size and their forward passes against plain layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mopoe.config import TrialConfig
from mopoe.data.registry import DATA_SETS
from mopoe.model import build_model
from mopoe.networks.base import _fan_in
from mopoe.networks.polymnist import ImageDecoder, ImageEncoder, transposed_by_phases


def test_the_papers_model_has_14_million_parameters() -> None:
    """Five modalities at latent_dim 512 and channels 32, 64, 128 have 14,056,975 parameters."""
    config = TrialConfig(latent_dim=512, channels=(32, 64, 128))
    model = build_model(config, DATA_SETS["digits"].modalities)
    assert sum(p.numel() for p in model.parameters()) == 14_056_975


@pytest.mark.parametrize(("channels", "n_colours"), [((2, 3, 4), 3), ((5, 2, 3), 1)])
def test_the_encoder_is_the_plain_chain_of_its_layers(channels: tuple[int, int, int], n_colours: int) -> None:
    """Conv, ReLU three times, flatten, linear, ReLU, two heads."""
    torch.manual_seed(0)
    encoder = ImageEncoder(6, channels, n_colours).double()
    x = torch.rand(3, n_colours, 28, 28, dtype=torch.float64)
    c = encoder.convolutions
    trunk = nn.Sequential(
        c[0], nn.ReLU(), c[1], nn.ReLU(), c[2], nn.ReLU(), nn.Flatten(), encoder.hidden, nn.ReLU()
    )
    mu, logvar = encoder(x)
    torch.testing.assert_close(mu, encoder.mu(trunk(x)), atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(logvar, encoder.logvar(trunk(x)), atol=1e-14, rtol=1e-12)
    assert mu.shape == logvar.shape == (3, 6)
    assert [tuple(m.stride) for m in c] == [(2, 2)] * 3


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_decoder_is_the_plain_chain_of_its_layers(memory_format: torch.memory_format) -> None:
    """The bias outside the first convolution changes neither values nor gradients."""
    torch.manual_seed(1)
    decoder = ImageDecoder(6, (2, 3, 4), 3).double().to(memory_format=memory_format)
    c = decoder.convolutions
    for layer in c:
        nn.init.normal_(layer.bias)
    plain = nn.Sequential(
        decoder.hidden, nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), c[0], nn.ReLU(), c[1], nn.ReLU(), c[2]
    )
    z = torch.randn(3, 6, dtype=torch.float64)
    ours, theirs = decoder(z), plain(z)
    assert ours.shape == (3, 3, 28, 28)
    torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=1e-11)
    weight = torch.randn(ours.shape, dtype=torch.float64)
    parameters = tuple(decoder.parameters())
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), parameters),
        torch.autograd.grad((theirs * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
@pytest.mark.parametrize(
    ("n_in", "n_out", "bias"), [(32, 3, True), (1, 1, False), (2, 5, True), (7, 1, True)]
)
def test_the_phases_are_the_transposed_convolution(
    n_in: int, n_out: int, *, bias: bool, dtype: torch.dtype, atol: float, memory_format: torch.memory_format
) -> None:
    """Values of torch's own layer, for images that are not square too."""
    torch.manual_seed(4)
    layer = nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=1, bias=bias, dtype=dtype)
    layer = layer.to(memory_format=memory_format)  # type: ignore[call-overload] # torch's stub lacks it
    h = torch.randn(3, n_in, 14, 5, dtype=dtype).contiguous(memory_format=memory_format)
    found = transposed_by_phases(h, layer.weight, layer.bias)
    torch.testing.assert_close(found, layer(h), atol=atol, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_decoder_without_gradients_puts_out_the_same(memory_format: torch.memory_format) -> None:
    """Its last layer is computed otherwise; the latents given stay as they were."""
    torch.manual_seed(3)
    decoder = ImageDecoder(6, (2, 3, 4), 3).double().to(memory_format=memory_format)
    z = torch.randn(3, 6, dtype=torch.float64)
    before, expected = z.clone(), decoder(z)
    with torch.inference_mode():
        found = decoder(z)
    assert torch.equal(z, before)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-12)


def test_the_layout_in_memory_does_not_change_the_numbers() -> None:
    """Channels-last images and weights encode to what contiguous ones do."""
    torch.manual_seed(2)
    encoder = ImageEncoder(5, (3, 4, 5), 3).double()
    x = torch.rand(2, 3, 28, 28, dtype=torch.float64)
    plain = encoder(x)
    fast = encoder.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("kind", ["torch", "he"])
def test_the_initial_log_variance_is_added_to_every_posteriors(kind: str) -> None:
    """-5 moves each log-variance of a fresh model by -5 and nothing else."""
    x = {m.name: torch.rand(2, *m.shape) for m in DATA_SETS["digits"].modalities}
    config = TrialConfig(latent_dim=4, channels=(3, 3, 3), initialisation=kind)  # type: ignore[arg-type]
    with torch.no_grad():
        before, after = (
            build_model(replace(config, initial_logvar=v), DATA_SETS["digits"].modalities).encode(x)
            for v in (0.0, -5.0)
        )
    assert torch.equal(before.mu_MBZ, after.mu_MBZ)
    change = after.precision_MBZ.log() - before.precision_MBZ.log()
    torch.testing.assert_close(change, torch.full_like(change, 5.0), atol=1e-4, rtol=0)


def test_torchs_initialisation_is_that_of_its_layers() -> None:
    """Weights lie within the bound 1/sqrt(fan-in) of torch's default, and fill it."""
    model = build_model(TrialConfig(latent_dim=64), DATA_SETS["digits"].modalities)
    hidden = model.encoders["m0"].hidden.weight.detach()
    bound = hidden.shape[1] ** -0.5
    assert bound * 0.999 < float(hidden.abs().max()) <= bound


def test_he_initialisation_keeps_the_scale_of_the_signal() -> None:
    """Through wide layers of noise, means of the encoder keep the root mean square of their input."""
    config = TrialConfig(latent_dim=256, initialisation="he")
    model = build_model(config, DATA_SETS["digits"].modalities[:1])
    x = torch.randn(16, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mu, _ = model.encoders["m0"](x)
        scale = float(mu.square().mean().sqrt())
        h = model.decoders["m0"].hidden(torch.randn(64, 256, generator=torch.Generator().manual_seed(1)))
    # Padding takes a tenth or two per convolution; torch's default leaves 0.04 of the signal.
    assert 0.5 < scale < 1.5
    assert float(h.square().mean()) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(6, 5), 6),
        (nn.Conv2d(3, 7, (3, 5)), 3 * 15),
        (nn.Conv2d(3, 7, 4, stride=2), 3 * 16),
        (nn.ConvTranspose2d(3, 7, 4, stride=2, padding=1), 3 * 4),
        (nn.ConvTranspose2d(3, 7, 6, stride=(2, 3)), 3 * 6),
        (nn.ConvTranspose1d(3, 7, 6, stride=3), 3 * 2),
    ],
    ids=str,
)
def test_the_fan_in_is_what_an_output_sums_over(layer: nn.Module, fan_in: int) -> None:
    """Counted: of ones through weights of ones, away from the border, on the average over a stride."""
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    nn.init.zeros_(layer.bias)
    shape = {nn.Linear: (), nn.Conv2d: (40, 40), nn.ConvTranspose2d: (40, 40)}.get(type(layer), (40,))
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    with torch.no_grad():
        out = layer(torch.ones(1, channels, *shape))
    inner = (slice(None), slice(None), *[slice(12, 24)] * len(shape))  # 12 is a multiple of every stride
    assert float(out[inner].mean()) == pytest.approx(fan_in)
    assert _fan_in(layer) == fan_in
