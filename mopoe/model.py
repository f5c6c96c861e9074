"""The MoPoE-VAE: encode every modality, form every subset's posterior, decode a latent into every modality.

Axes: B batch, M modality, S subset, Z latent.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mopoe.bound import bound_of
from mopoe.config import PriorExpert, TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.gaussian import at_least_float32, membership, product_of_experts
from mopoe.likelihoods import Likelihood
from mopoe.modality import Modality
from mopoe.networks import build_modality
from mopoe.noise import generator
from mopoe.subsets import mixture_weights, subset_masks


class MoPoE(nn.Module):
    """A mixture of products of experts over all non-empty subsets of modalities (Sutter et al. 2021, eq. 5).

    Args:
        modalities: the parts by modality name, in the order of the bits of a subset mask.
        latent_dim: number of latent dimensions Z.
        subset_weights: mixture weights; see `mopoe.subsets.mixture_weights`.
        prior_expert: which products include N(0, I): the full set's (as released), all, or none.
        unimodal_elbos: whether training adds one ELBO per modality, as MVAE does.

    Raises:
        ConfigError: there is no modality, or the weights do not fit their number.
    """

    members_SM: Tensor
    prior_S: Tensor
    weights_S: Tensor
    active_A: Tensor

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        latent_dim: int,
        *,
        subset_weights: tuple[float, ...] | None = None,
        prior_expert: PriorExpert = "full",
        unimodal_elbos: bool = False,
    ) -> None:
        super().__init__()
        self.unimodal_elbos = unimodal_elbos
        self.names = tuple(modalities)
        self.latent_dim = latent_dim
        self.masks = subset_masks(len(modalities))
        self.encoders = nn.ModuleDict({name: m.encoder for name, m in modalities.items()})
        self.decoders = nn.ModuleDict({name: m.decoder for name, m in modalities.items()})
        self.likelihoods = nn.ModuleDict({name: m.likelihood for name, m in modalities.items()})
        with_prior = {"all": self.masks, "full": self.masks[-1:], "none": ()}[prior_expert]
        # Not parameters and not saved: a checkpoint's config says what they are.
        self.register_buffer("members_SM", membership(self.masks, len(modalities)), persistent=False)
        self.register_buffer(
            "prior_S", torch.tensor([float(m in with_prior) for m in self.masks]), persistent=False
        )
        weights = mixture_weights(subset_weights, len(modalities))
        self.register_buffer("weights_S", torch.tensor(weights, dtype=torch.float64), persistent=False)
        active = [s for s, weight in enumerate(weights) if weight > 0]
        self.register_buffer("active_A", torch.tensor(active), persistent=False)

    def encode(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and precision [M, B, Z] of every unimodal posterior q(z | x_m)."""
        parts = [self.encoders[name](x[name]) for name in self.names]
        mu_MBZ = torch.stack([mu for mu, _ in parts])
        logvar_MBZ = torch.stack([logvar for _, logvar in parts])
        return at_least_float32(mu_MBZ), torch.exp(-at_least_float32(logvar_MBZ))

    def posteriors(self, mu_MBZ: Tensor, precision_MBZ: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and precision [S, B, Z] of every subset's posterior q(z | x_A)."""
        return product_of_experts(mu_MBZ, precision_MBZ, self.members_SM, self.prior_S)

    def decode(self, z_BZ: Tensor) -> dict[str, Tensor]:
        """Return every decoder's output by modality name, [B, ...]."""
        return {name: self.decoders[name](z_BZ) for name in self.names}

    def means(self, z_BZ: Tensor) -> dict[str, Tensor]:
        """Return the mean of p(x_m | z) by modality name, shaped like x_m."""
        return {name: self.likelihood(name).mean(output) for name, output in self.decode(z_BZ).items()}

    def log_prob(self, z_BZ: Tensor, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return log p(x_m | z) by modality name, [B], in nats."""
        return {name: self.likelihood(name).log_prob(out, x[name]) for name, out in self.decode(z_BZ).items()}

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
        parts = {m.name: build_modality(config, m, config.latent_dim) for m in modalities}
    bound = bound_of(config, len(modalities))
    model = MoPoE(
        parts,
        config.latent_dim,
        subset_weights=bound.subset_weights,
        prior_expert=bound.prior_expert,
        unimodal_elbos=bound.unimodal_elbos,
    )
    # Channels-last images are faster in every convolution measured, on CPUs and on GPUs.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stub lacks it
