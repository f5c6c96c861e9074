"""The MoPoE-VAE: encode every modality, form every subset's posterior, decode a latent into every modality.

Axes: B batch, M modality, S subset, W private latent, Z shared latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.family import Family
from mopoe.gaussian import GAUSSIAN, at_least_float32, membership, product_of_experts
from mopoe.laplace import LAPLACE
from mopoe.likelihoods import Likelihood
from mopoe.methods import Bound, bound_of
from mopoe.networks import build_modality
from mopoe.networks.base import Modality
from mopoe.random_streams import generator
from mopoe.subsets import mixture_weights, subset_masks


@dataclass(frozen=True, slots=True)
class Encoded:
    """The unimodal posteriors of a batch, each as mean and precision."""

    mu_MBZ: Tensor
    """Means of q(z | x_m); 0 where the modality is missing."""
    precision_MBZ: Tensor
    """Their precisions; 0 where the modality is missing, which leaves it out of every product."""
    style_mu_MBW: Tensor
    """Means of the private latents' posteriors q(w_m | x_m); those of the prior where x_m is missing."""
    style_precision_MBW: Tensor
    """Their precisions."""
    present_MB: Tensor | None = None
    """Which modality of which sample is there, as booleans; None if all are."""


class MoPoE(nn.Module):
    """A mixture of products of experts over all non-empty subsets of modalities (Sutter et al. 2021, eq. 5).

    Args:
        modalities: the parts by modality name, in the order of the bits of a subset mask.
        latent_dim: number of shared latent dimensions Z.
        bound: the mixture and what else the method is made of.
        style_dim: number of private latent dimensions W of each modality. Encoders then put out Z + W numbers
            and decoders take as many, the shared ones first.

    Raises:
        ConfigError: there is no modality, or the weights do not fit their number.
    """

    members_SM: Tensor
    prior_S: Tensor
    fixed_weights_S: Tensor
    active_A: Tensor
    active_or_full_A: Tensor
    weight_logits_S: Tensor | None

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        latent_dim: int,
        bound: Bound | None = None,
        *,
        style_dim: int = 0,
    ) -> None:
        super().__init__()
        self.bound = bound or Bound()
        self.family: Family = LAPLACE if self.bound.posterior == "laplace" else GAUSSIAN
        self.names = tuple(modalities)
        self.latent_dim = latent_dim
        self.style_dim = style_dim
        self.masks = subset_masks(len(modalities))
        self.encoders = nn.ModuleDict({name: m.encoder for name, m in modalities.items()})
        self.decoders = nn.ModuleDict({name: m.decoder for name, m in modalities.items()})
        self.likelihoods = nn.ModuleDict({name: m.likelihood for name, m in modalities.items()})
        with_prior = {"all": self.masks, "full": self.masks[-1:], "none": ()}[self.bound.prior_expert]
        # Not parameters and not saved: a checkpoint's config says what they are.
        self.register_buffer("members_SM", membership(self.masks, len(modalities)), persistent=False)
        self.register_buffer(
            "prior_S", torch.tensor([float(m in with_prior) for m in self.masks]), persistent=False
        )
        weights = mixture_weights(self.bound.subset_weights, len(modalities))
        self.register_buffer("fixed_weights_S", torch.tensor(weights, dtype=torch.float64), persistent=False)
        active = [s for s, weight in enumerate(weights) if weight > 0]
        self.register_buffer("active_A", torch.tensor(active), persistent=False)
        reached = 0
        for s in active:
            reached |= self.masks[s]
        # Samples without any modality of the mixture's subsets take the full set (`weights_given`).
        last = [] if reached == self.masks[-1] else [len(self.masks) - 1]
        self.register_buffer("active_or_full_A", torch.tensor(active + last), persistent=False)
        learned = nn.Parameter(torch.zeros(len(self.masks))) if self.bound.learned_weights else None
        self.register_parameter("weight_logits_S", learned)

    @property
    def weights_S(self) -> Tensor:
        """The mixture weights, float64, in the order of `masks`; a function of parameters if learned."""
        logits_S = self.weight_logits_S
        return self.fixed_weights_S if logits_S is None else torch.softmax(logits_S.double(), 0)

    def components(self, *, missing: bool) -> Tensor:
        """Return the indices of the subsets that can have a weight above 0, if modalities may be missing."""
        return self.active_or_full_A if missing else self.active_A

    def encode(self, x: Mapping[str, Tensor], present_MB: Tensor | None = None) -> Encoded:
        """Return the unimodal posteriors of a batch.

        Args:
            x: samples by modality name, [B, ...]; a modality left out is missing from all samples.
            present_MB: which modality of which sample is there, as booleans; what x holds at the others is
                never used, but must be finite.

        Raises:
            ConfigError: x holds no modality of this model.
        """
        given = [name for name in self.names if name in x]
        if not given:
            raise ConfigError(f"none of the modalities {', '.join(self.names)} is given")
        n, device = len(x[given[0]]), x[given[0]].device
        if len(given) < len(self.names):
            here_M1 = torch.tensor([[name in x] for name in self.names], device=device)
            present_MB = here_M1.expand(-1, n) if present_MB is None else present_MB & here_M1
        nothing = torch.zeros(n, self.latent_dim + self.style_dim, device=device)
        parts = [self.encoders[name](x[name]) if name in x else (nothing, nothing) for name in self.names]
        mu = at_least_float32(torch.stack([mu for mu, _ in parts]))
        precision = torch.exp(-at_least_float32(torch.stack([logvar for _, logvar in parts])))
        shares = [self.latent_dim, self.style_dim]
        (mu_MBZ, style_mu_MBW), (precision_MBZ, style_precision_MBW) = (
            mu.split(shares, -1),
            precision.split(shares, -1),
        )
        if present_MB is not None:
            here_MB1 = present_MB[:, :, None]
            mu_MBZ, precision_MBZ = mu_MBZ.where(here_MB1, 0), precision_MBZ.where(here_MB1, 0)
            style_mu_MBW = style_mu_MBW.where(here_MB1, 0)
            style_precision_MBW = style_precision_MBW.where(here_MB1, 1)
        return Encoded(mu_MBZ, precision_MBZ, style_mu_MBW, style_precision_MBW, present_MB)

    def posteriors(self, q: Encoded, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return mean and precision [S, B, Z] of the products q(z | x_A), for all subsets or an index.

        A product is taken over the modalities of A that are there; with none of them it is the prior.
        """
        return product_of_experts(q.mu_MBZ, q.precision_MBZ, *self.products(q, index))

    def products(self, q: Encoded, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return which modalities are in which product, [S, M], and whether the prior is: [S], or [S, B]."""
        members_SM, prior = self.members_SM[index], self.prior_S[index]
        if q.present_MB is not None:
            empty_SB = (members_SM @ q.present_MB.to(members_SM.dtype)) == 0
            prior = torch.maximum(prior[:, None], empty_SB.to(prior.dtype))
        return members_SM, prior

    def conditionals(self, q: Encoded, pick_SB: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and precision [S, B, Z] of the posterior that each subset's latent is drawn from.

        Under a mixture of experts (method moe) the posterior given several modalities is the mixture of
        theirs (Shi et al. 2019), and one is picked for each sample; elsewhere it is their product.

        Args:
            q: the unimodal posteriors, of complete samples.
            pick_SB: numbers of [0, 1) that pick the modality under a mixture of experts.
        """
        if pick_SB is None:
            return self.posteriors(q)
        share_SM = self.members_SM / self.members_SM.sum(1, keepdim=True)
        edges_SM = share_SM.double().cumsum(1)
        at_SB = (pick_SB.double() * edges_SM[:, -1:]).contiguous()  # else torch copies it, with a warning
        chosen_SB = torch.searchsorted(edges_SM, at_SB, right=True)
        sample_B = torch.arange(pick_SB.shape[1], device=pick_SB.device)
        return q.mu_MBZ[chosen_SB, sample_B], q.precision_MBZ[chosen_SB, sample_B]

    def weights_given(self, present_MB: Tensor) -> Tensor:
        """Return the mixture weights [S, B] where modalities are missing: of subsets with one that is there.

        They are scaled to sum to one. If no subset of the mixture has a modality that is there, the full
        set's product takes all.
        """
        possible_SB = (self.members_SM @ present_MB.to(self.members_SM.dtype)) > 0
        weights_SB = self.weights_S[:, None] * possible_SB
        total_B = weights_SB.sum(0)
        full_SB = torch.zeros_like(weights_SB)
        full_SB[-1] = 1
        return torch.where(total_B > 0, weights_SB / torch.where(total_B > 0, total_B, 1), full_SB)

    def decode(self, z_BZ: Tensor, style_MBW: Tensor | None = None) -> dict[str, Tensor]:
        """Return every decoder's output by modality name, [B, ...]; without style, at its prior's mean 0."""
        return {name: self._output(m, z_BZ, style_MBW) for m, name in enumerate(self.names)}

    def means(self, z_BZ: Tensor, style_MBW: Tensor | None = None) -> dict[str, Tensor]:
        """Return the mean of p(x_m | z, w_m) by modality name, shaped like x_m."""
        return {name: self.mean(name, z_BZ, style_MBW) for name in self.names}

    def mean(self, name: str, z_BZ: Tensor, style_MBW: Tensor | None = None) -> Tensor:
        """Return the mean of p(x_m | z, w_m) of one modality."""
        return self.likelihood(name).mean(self._output(self.names.index(name), z_BZ, style_MBW))

    def log_prob(
        self, z_BZ: Tensor, x: Mapping[str, Tensor], style_MBW: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return log p(x_m | z, w_m) in nats by the names of the modalities in x, [B]."""
        return {
            name: self.likelihood(name).log_prob(self._output(m, z_BZ, style_MBW), x[name])
            for m, name in enumerate(self.names)
            if name in x
        }

    def _output(self, m: int, z_BZ: Tensor, style_MBW: Tensor | None) -> Tensor:
        if self.style_dim:
            own = z_BZ.new_zeros(len(z_BZ), self.style_dim) if style_MBW is None else style_MBW[m]
            z_BZ = torch.cat([z_BZ, own], 1)
        # Under autocast too, densities and means are not computed in half precision.
        output: Tensor = self.decoders[self.names[m]](z_BZ)
        return at_least_float32(output)

    def likelihood(self, name: str) -> Likelihood:
        """Return a modality's likelihood."""
        found = self.likelihoods[name]
        assert isinstance(found, Likelihood)
        return found


def build_model(config: TrialConfig, modalities: tuple[ModalitySpec, ...]) -> MoPoE:
    """Return a freshly initialised model with each modality's networks; the config's seed fixes every weight.

    Raises:
        ConfigError: a modality's shape does not fit its networks, or they cannot be imported.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "initialisation").initial_seed())
        width = config.latent_dim + config.style_dim
        parts = {m.name: build_modality(config, m, width) for m in modalities}
    bound = bound_of(config, len(modalities))
    model = MoPoE(parts, config.latent_dim, bound, style_dim=config.style_dim)
    # Channels-last images are faster in every convolution measured, on CPUs and on GPUs.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stub lacks it
