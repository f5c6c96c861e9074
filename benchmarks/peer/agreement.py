"""Values of this project and of multivae 1.0.3, on the same weights, samples and noise.

Run: make compare      (half a minute; exit status 1 if what should agree does not, or a difference is gone)

Prints posteriors, losses, gradients and log-likelihoods of both, then the differences that docs/peers.md
names. Axes: B batch, K importance sample, M modality, S subset, Z latent.
"""

import math
import sys
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain

import torch
from bridge import dataset, given, peer
from multivae.models import MoPoE, MoPoEConfig
from multivae.models.base import BaseAEConfig
from multivae.models.base.base_utils import poe
from multivae.models.nn.mmnist import EncoderConvMMNIST
from torch import Tensor, nn

import mopoe
from mopoe.data.registry import ModalitySpec
from mopoe.elbo import Draws, LossWeights, generalized_elbo, importance_weighted_bound
from mopoe.evaluation.log_likelihood import component_shares, joint_log_likelihood
from mopoe.methods import beta_at
from mopoe.random_streams import block_components, sample_noise

BETA = 2.5
TOLERANCE = 1e-5
# Modalities, latent dimensions, batch size; the last is the paper's model in the precision of training.
CASES = ((3, 8, 29, torch.float64), (5, 16, 100, torch.float64), (5, 512, 64, torch.float32))
NORMAL = {"prior_and_posterior_dist": "normal", "loss": "iwae_looser", "K": 1}


@dataclass(frozen=True, slots=True)
class Row:
    """A quantity on both sides; of tensors the norms are shown and all elements compared."""

    quantity: str
    ours: Tensor
    theirs: Tensor

    @property
    def difference(self) -> float:
        """The largest difference of an element, relative to the largest element."""
        return float((self.ours - self.theirs).abs().max() / self.theirs.abs().max())

    def __str__(self) -> str:
        a, b = (float(t if t.dim() == 0 else t.double().norm()) for t in (self.ours, self.theirs))
        verdict = "agrees" if self.difference <= TOLERANCE else "DISAGREES"
        return f"{self.quantity:<62}{a:>15.8g}{b:>15.8g}{self.difference:>12.1e}  {verdict}"


def model_of(method: str, n_modalities: int, latent_dim: int, **settings: object) -> mopoe.MoPoE:
    """Return our model with the paper's networks; its weights do not depend on the method."""
    config = mopoe.TrialConfig(
        method=method, latent_dim=latent_dim, initialisation="he", initial_logvar=-3, **settings
    )
    specs = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(n_modalities))
    return mopoe.build_model(config, specs)


def pictures(m: int, n: int) -> dict[str, Tensor]:
    """Return n samples of m modalities."""
    rng = torch.Generator().manual_seed(m)
    return {f"m{i}": torch.rand(n, 3, 28, 28, generator=rng) for i in range(m)}


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    """Return the gradient with respect to all networks, in one vector."""
    weights = list(chain(model.encoders.parameters(), model.decoders.parameters()))
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])


def losses(m: int, z: int, n: int, dtype: torch.dtype) -> list[Row]:
    """Return the rows of one size: posteriors, and loss and gradient by objective."""
    torch.set_default_dtype(dtype)
    case = f"M={m} Z={z} B={n} {str(dtype).removeprefix('torch.')}"
    x, rng = pictures(m, n), torch.Generator().manual_seed(0)
    noise_BZ, noise_MBZ = torch.randn(n, z, generator=rng), torch.randn(m, n, z, generator=rng)
    weights = {name: 1 + i / 2 for i, name in enumerate(x)}
    common = {"uses_likelihood_rescaling": True, "rescale_factors": weights, "beta": BETA}
    mixture, experts, product = (model_of(method, m, z) for method in ("mopoe", "moe", "poe"))
    alone = model_of("poe", m, z, unimodal_elbos=False)
    rows = []

    def add(quantity: str, ours: Tensor, theirs: Tensor) -> None:
        rows.append(Row(f"{quantity:<36}{case}", ours.detach(), theirs.detach()))

    mu_SBZ, precision_SBZ = mixture.posteriors(mixture.encode(x))
    found = peer("MoPoE", mixture).inference(dataset(x))
    add("subset posteriors: mean", mu_SBZ, found["mus"])
    add("subset posteriors: log-variance", -precision_SBZ.log(), found["logvars"])

    singles = [[name] for name in x]
    of_joint_elbo = {"warmup": 0, "use_subsampling": False}
    for name, ours, theirs, draws in (
        ("MoPoE, batch_split", mixture, peer("MoPoE", mixture, **common), [noise_BZ]),
        ("MoE, batch_split", experts, peer("MoPoE", experts, subsets=singles, **common), [noise_BZ]),
        ("PoE, joint ELBO", alone, peer("MVAE", alone, **of_joint_elbo, **common), [noise_BZ]),
        ("MVAE", product, peer("MVAE", product, warmup=0, **common), [noise_BZ, *noise_MBZ]),
    ):
        ours_draws = Draws(
            component_B=block_components(ours.weights_S, n),
            noise=noise_BZ,
            unimodal_MBZ=noise_MBZ if ours.method.unimodal_elbos else None,
        )
        terms = generalized_elbo(ours, x, ours_draws, LossWeights(beta=BETA, likelihood=weights))
        with given(*draws):
            found = theirs(dataset(x))
        kl = "joint_divergence" if "joint_divergence" in found.metrics else "kld" + "_".join(x)
        add(f"{name}: loss", terms.loss, found.loss)
        add(f"{name}: KL", terms.kl, found.metrics[kl])
        if dtype is torch.float64:  # in float32 single elements of a gradient differ by more than 1e-5
            add(f"{name}: gradient", gradient(ours, terms.loss), gradient(theirs, found.loss))

    for k, kind in ((1, "iwae"), (3, "iwae"), (3, "dreg")):
        noise_KMBZ = torch.randn(k, m, n, z, generator=rng)
        terms = importance_weighted_bound(
            experts, x, Draws(component_B=None, noise=noise_KMBZ), LossWeights(beta=1.0), gradient=kind
        )
        theirs = peer("MMVAE", experts, prior_and_posterior_dist="normal", loss=f"{kind}_looser", K=k)
        with given(*noise_KMBZ.transpose(0, 1)):
            loss = theirs(dataset(x)).loss / n
        if kind == "iwae":  # with dreg its loss is no bound; see `differences`
            add(f"MMVAE, K={k}, {kind}: loss", terms.loss, loss)
        if dtype is torch.float64:
            add(f"MMVAE, K={k}, {kind}: gradient", gradient(experts, terms.loss), gradient(theirs, loss))
    return rows


def likelihood(m: int, z: int, n: int, k: int) -> Row:
    """Return the joint log-likelihood by both formulas from the same latents, drawn as ours draws them."""
    torch.set_default_dtype(torch.float64)
    model, x, cpu = model_of("mopoe", m, z), pictures(m, n), torch.device("cpu")
    ours = joint_log_likelihood(model, mopoe.Split(x, torch.zeros(n)), n, k, 0).mean()
    with torch.no_grad():
        mu_SBZ, precision_SBZ = model.posteriors(model.encode(x))
    of_K = torch.repeat_interleave(torch.arange(len(mu_SBZ)), component_shares(k, len(mu_SBZ)))
    noise_KBZ = sample_noise(0, "log-likelihood", 0, n, (k, z), cpu).transpose(0, 1)
    with given(mu_SBZ[of_K] + noise_KBZ * precision_SBZ[of_K].rsqrt(), are_latents=True):
        theirs = -peer("MoPoE", model).compute_joint_nll(dataset(x), K=k) / n
    return Row(f"{'log p(X) of the same latents':<36}M={m} Z={z} B={n} K={k} float64", ours, theirs)


def batch_split(m: int, n: int, *, as_released: bool) -> Tensor:
    """Return the subset of each of n samples by multivae's batch split, or by its released original.

    The original differs in one step: it divides the weights 1 / S by their sum in float32.
    """
    s = 2**m - 1
    weights_S = torch.full((s,), 1 / s, dtype=torch.float32)
    weights_S = weights_S / weights_S.sum() if as_released else weights_S
    numbers_SB1 = torch.arange(float(s))[:, None, None].expand(s, n, 1)
    return MoPoE.deterministic_mixture_component_selection(None, numbers_SB1, numbers_SB1, weights_S)[0][:, 0]


def blocks(m: int) -> Row:
    """Return how our batch split and the released one cut batches of 1 to 320 samples."""
    weights_S = torch.full((2**m - 1,), 1 / (2**m - 1), dtype=torch.float64)
    ours = torch.cat([block_components(weights_S, n).double() for n in range(1, 321)])
    theirs = torch.cat([batch_split(m, n, as_released=True) for n in range(1, 321)])
    return Row(f"{'batch_split: subset of each sample':<36}M={m} B=1..320 as released", ours, theirs)


def differences() -> dict[str, bool]:
    """Return the differences that docs/peers.md names, with figures, and whether each is there."""
    torch.set_default_dtype(torch.float64)
    x = pictures(3, 6)
    mixture, experts, product = (model_of(method, 3, 4) for method in ("mopoe", "moe", "poe"))
    noise_M1BZ = torch.randn(3, 1, 6, 4, generator=torch.Generator().manual_seed(0))

    def mmvae(n: int, beta: float) -> float:
        with given(*noise_M1BZ[:, :, :n]):
            batch = dataset({name: a[:n] for name, a in x.items()})
            return float(peer("MMVAE", experts, beta=beta, **NORMAL)(batch).loss)

    one, six, six_at_5 = mmvae(1, 1.0), mmvae(6, 1.0), mmvae(6, 5.0)
    three = torch.randn(3, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    of_kind = []
    for kind in ("iwae", "dreg"):
        with given(*three), torch.enable_grad():
            model = peer("MMVAE", experts, prior_and_posterior_dist="normal", loss=f"{kind}_looser", K=3)
            of_kind.append(float(model(dataset(x)).loss.detach()) / 6)
    warming = peer("MVAE", product, warmup=2)(dataset(x), epoch=2, batch_ratio=0.0).metrics
    ours_warming = beta_at(10, 10, mopoe.TrialConfig(beta=1, beta_warmup_epochs=2))
    untrained = peer("MVAE", product)(dataset(x)).metrics["beta"]
    _, logvar = poe(torch.zeros(2, 1), torch.full((2, 1), -15.0))
    precision = float((-logvar).exp()) / (2 * math.exp(15))
    peer_mixture = peer("MoPoE", mixture)
    full = peer_mixture.inference(dataset(x))["subsets"]["m0_m1_m2"][0]
    gap = float((peer_mixture.encode(dataset(x), return_mean=True).z - full).abs().max())
    typo = MoPoEConfig(n_modalities=2, latent_dim=2, betta=9.0)
    bias = EncoderConvMMNIST(BaseAEConfig(latent_dim=4)).class_mu.bias
    share, released = (
        float((batch_split(5, 62, as_released=r) == 30).double().mean()) for r in (False, True)
    )
    return {
        f"MoPoE: at M=5 and B=62 the full set gets {share:.3f} of the batch, as released {released:.3f}": (
            share < 0.1 and released > 0.5
        ),
        f"MMVAE: the loss of 6 samples is {six / one:.2f} times that of 1: a sum over the batch": six / one
        > 3,
        f"MMVAE: the loss at beta=5 is {six_at_5 - six:+.1f} off that at beta=1": six_at_5 == six,
        f"MMVAE: of the same draws its dreg loss is {of_kind[1] - of_kind[0]:+.2f} off the bound": (
            abs(of_kind[1] - of_kind[0]) > 0.1
        ),
        f"MVAE: half-way through warmup=2 beta is {warming['beta']:.1f}, ours {ours_warming:.1f}": (
            warming["beta"] == 1 and ours_warming == 0.5
        ),
        f"MVAE: in a call without an epoch beta is {untrained:.1f}, set was 1.0": untrained == 0,
        "MVAE: its metric named recon is the whole ELBO": bool(warming["reconm0"] == warming["m0"]),
        f"MoPoE: the product of two experts of log-variance -15 has {precision:.3f} of its precision": (
            precision < 0.99
        ),
        f"MoPoE: encode(return_mean=True) is up to {gap:.4f} off the mean it samples around": gap > 1e-3,
        f"MoPoEConfig(betta=9.0) is accepted, with beta {typo.beta}": typo.beta == 1,
        "EncoderConvMMNIST: no bias in its heads unless asked for": bias is None,
    }


def main() -> int:
    """Print both tables and return the exit status."""
    torch.set_num_threads(1)
    print(f"multivae {version('multivae')}, torch {torch.__version__}, CPU, 1 thread\n")
    print(f"{'same weights, samples and noise':<62}{'ours':>15}{'multivae':>15}{'difference':>12}")
    rows = [blocks(3), blocks(5), *chain.from_iterable(losses(*case) for case in CASES)]
    rows += [likelihood(m, 8, 4, k) for m, k in ((1, 70), (3, 70), (5, 124))]
    print(*rows, sep="\n")
    with torch.no_grad():
        found = differences()
    print("\ndifferences of multivae")
    print(*(f"{'so' if so else 'NOT SO':<8}{text}" for text, so in found.items()), sep="\n")
    return 0 if all(row.difference <= TOLERANCE for row in rows) and all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
