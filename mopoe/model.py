"""The MoPoE-VAE: encode every modality, form every subset's posterior, decode a latent into every modality.

Axes: B batch, C covariates' number, M modality, S subset, W private latent, Z shared latent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mopoe.bank import Bank, Stack, banks, stacked, trained
from mopoe.config import TrialConfig
from mopoe.data.covariates import joined, of_modalities, width
from mopoe.data.registry import COVARIATES, ModalitySpec
from mopoe.distributions import GAUSSIAN, LAPLACE, LatentDistribution, membership
from mopoe.errors import ConfigError
from mopoe.experts import aggregate
from mopoe.likelihoods import Likelihood, log_probs
from mopoe.methods import MethodSpec, resolve_method
from mopoe.networks import build_modalities
from mopoe.networks.base import Modality
from mopoe.random_streams import generator
from mopoe.runtime import at_least_float32
from mopoe.subsets import mixture_weights, subset_masks

Given = tuple[Tensor, Tensor | None, Tensor | None]
"""What is decoded: shared latents [B, Z], private ones [M, B, W], covariates [B, C]."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The unimodal posteriors of a batch, each as mean and precision."""

    mu_MBZ: Tensor
    """Means of q(z | x_m); 0 where the modality is missing."""
    precision_MBZ: Tensor
    """Their precisions; 0 where the modality is missing, which removes it from every product."""
    style_mu_MBW: Tensor
    """Means of the private posteriors q(w_m | x_m); that of the prior where x_m is missing."""
    style_precision_MBW: Tensor
    """Their precisions."""
    present_MB: Tensor | None = None
    """Whether the modality of the sample is present, as booleans; None if all are."""
    covariates_BC: Tensor | None = None
    """What the model is conditioned on; None if on nothing."""


class MoPoE(nn.Module):
    """A mixture of products of experts over all non-empty subsets of modalities (Sutter et al. 2021, eq. 5).

    Args:
        modalities: the parts by modality name, in the order of the bits of a subset mask.
        latent_dim: number of shared latent dimensions Z.
        method: the mixture over subsets and the extra terms of the method.
        style_dim: number of private latent dimensions W of each modality. Encoders then output Z + W numbers
            and decoders take as many, the shared ones first.
        covariates: number C of covariates that follow a sample in an encoder's input, which is then one
            vector, and the latents in a decoder's. They condition all densities but that of the prior.

    Raises:
        ConfigError: there is no modality, or the weights do not fit the number of modalities.
    """

    members_SM: Tensor
    prior_S: Tensor
    fixed_weights_S: Tensor
    active_A: Tensor
    active_or_full_A: Tensor
    weight_logits_S: Tensor | None
    auxiliary_log_scale_MW: Tensor | None

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        latent_dim: int,
        method: MethodSpec | None = None,
        *,
        style_dim: int = 0,
        covariates: int = 0,
    ) -> None:
        super().__init__()
        self.method = method or MethodSpec()
        self.distribution: LatentDistribution = LAPLACE if self.method.posterior == "laplace" else GAUSSIAN
        self.names = tuple(modalities)
        self.latent_dim = latent_dim
        self.style_dim = style_dim
        self.covariates = covariates
        self.masks = subset_masks(len(modalities))
        self.encoders = nn.ModuleDict({name: m.encoder for name, m in modalities.items()})
        self.decoders = nn.ModuleDict({name: m.decoder for name, m in modalities.items()})
        self.likelihoods = nn.ModuleDict({name: m.likelihood for name, m in modalities.items()})
        with_prior = {"all": self.masks, "full": self.masks[-1:], "none": ()}[self.method.prior_expert]
        # Not saved: a checkpoint's config determines them.
        self.register_buffer("members_SM", membership(self.masks, len(modalities)), persistent=False)
        self.register_buffer(
            "prior_S", torch.tensor([float(m in with_prior) for m in self.masks]), persistent=False
        )
        weights = mixture_weights(self.method.subset_weights, len(modalities))
        self.register_buffer("fixed_weights_S", torch.tensor(weights, dtype=torch.float64), persistent=False)
        active = [s for s, weight in enumerate(weights) if weight > 0]
        self.register_buffer("active_A", torch.tensor(active), persistent=False)
        reached = 0
        for s in active:
            reached |= self.masks[s]
        # Samples that lack every modality of the mixture's subsets use the full set (`weights_given`).
        last = [] if reached == self.masks[-1] else [len(self.masks) - 1]
        self.register_buffer("active_or_full_A", torch.tensor(active + last), persistent=False)
        learned = nn.Parameter(torch.zeros(len(self.masks))) if self.method.learned_weights else None
        self.register_parameter("weight_logits_S", learned)
        auxiliary = torch.zeros(len(modalities), style_dim) if self.method.auxiliary_prior else None
        scale = None if auxiliary is None else nn.Parameter(auxiliary)
        self.register_parameter("auxiliary_log_scale_MW", scale)
        self.banks: tuple[tuple[Bank, ...], tuple[Bank, ...]] = ((), ())

    def bank(self) -> None:
        """Compute like networks together from now on, where that is faster.

        Gradients then go to `stacks`, so that an optimizer has to train what `trained` returns. The layout of
        parameters in memory changes, which the state of an optimizer must share.
        """
        self.banks = banks(dict(self.encoders.items())), banks(dict(self.decoders.items()))
        if not all(stack.whole() for stack in self.stacks):  # an encoder and a decoder share parameters
            self.unbank()

    def unbank(self) -> None:
        """Compute each network by itself again; its parameters are its own."""
        self.banks = (), ()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: not the banks, of whose stacks its parameters are no views."""
        return self.__dict__ | {"banks": ((), ())}

    @property
    def stacks(self) -> list[Stack]:
        """The stacked parameters of all banks."""
        return [stack for side in self.banks for bank in side for stack in bank.stacks]

    @property
    def trained(self) -> list[Tensor]:
        """What an optimizer trains: all parameters, those of banks stacked."""
        return trained(self.parameters(), self.stacks)

    @property
    def device(self) -> torch.device:
        """The device of the model's tensors."""
        return self.members_SM.device

    @property
    def weights_S(self) -> Tensor:
        """The mixture weights, float64, in the order of `masks`; a function of parameters if learned."""
        logits_S = self.weight_logits_S
        return self.fixed_weights_S if logits_S is None else torch.softmax(logits_S.double(), 0)

    def components(self, *, missing: bool) -> Tensor:
        """Return the indices [A] of the subsets whose weight can be above 0.

        Args:
            missing: whether modalities of some samples are missing.
        """
        return self.active_or_full_A if missing else self.active_A

    def encode(self, x: Mapping[str, Tensor], present_MB: Tensor | None = None) -> Encoded:
        """Return the unimodal posteriors of a batch.

        Args:
            x: samples by modality name, [B, ...], and their covariates; a modality left out is missing from
                all samples.
            present_MB: whether the modality of the sample is present, as booleans; values of x at missing
                places are never used, but must be finite.

        Raises:
            ConfigError: x contains no modality of this model, or lacks the covariates.
        """
        given = [name for name in self.names if name in x]
        if not given:
            raise ConfigError(f"none of the modalities {', '.join(self.names)} is given")
        n, device = len(x[given[0]]), x[given[0]].device
        if len(given) < len(self.names):
            here_M1 = torch.tensor([[name in x] for name in self.names], device=device)
            present_MB = here_M1.expand(-1, n) if present_MB is None else present_MB & here_M1
        mu, logvar = self._encoder_outputs(x)
        precision = torch.exp(-logvar)
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
        c_BC = x[COVARIATES] if self.covariates else None
        return Encoded(mu_MBZ, precision_MBZ, style_mu_MBW, style_precision_MBW, present_MB, c_BC)

    def _encoder_outputs(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [M, B, Z + W] of all modalities; zeros of those not in x."""
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        if self.covariates:
            c_BC = x.get(COVARIATES)
            x = {name: joined(x[name], c_BC, self.covariates) for name in self.names if name in x}
        for bank in self.banks[0]:
            if all(name in x for name in bank.names) and bank.ready(x[bank.names[0]]):
                out = bank(stacked([x[name] for name in bank.names])).transpose(1, 2)
                mu, logvar = out.chunk(2, -1)
                if bank.names == self.names:
                    return mu, logvar
                parts |= dict(zip(bank.names, zip(mu, logvar, strict=True), strict=True))
        for name in self.names:
            if name in x and name not in parts:
                mu, logvar = self.encoders[name](x[name])
                parts[name] = at_least_float32(mu), at_least_float32(logvar)
        nothing = torch.zeros_like(next(iter(parts.values()))[0])
        mus, logvars = zip(*(parts.get(name, (nothing, nothing)) for name in self.names), strict=True)
        return torch.stack(mus), torch.stack(logvars)

    def posteriors(self, q: Encoded, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return mean and precision [S, B, Z] of the posteriors q(z | X_A) of all subsets, or of an index.

        The experts are the modalities of A that are present; without any of them it is the prior.
        """
        return aggregate(self.method.aggregation, q.mu_MBZ, q.precision_MBZ, *self.products(q, index))

    def products(self, q: Encoded, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return the members of each product, 0/1 [S, M], and whether the prior is one, [S] or [S, B]."""
        members_SM, prior = self.members_SM[index], self.prior_S[index]
        if q.present_MB is not None:
            empty_SB = (members_SM @ q.present_MB.to(members_SM.dtype)) == 0
            prior = torch.maximum(prior[:, None], empty_SB.to(prior.dtype))
        return members_SM, prior

    @property
    def expert_shares_SM(self) -> Tensor:
        """The weight of each modality in a subset's mixture of experts: equal shares of its members."""
        return self.members_SM / self.members_SM.sum(1, keepdim=True)

    def weights_given(self, present_MB: Tensor) -> Tensor:
        """Return the mixture weights [S, B] of samples with missing modalities.

        Subsets none of whose modalities is present get weight 0, and the others are scaled to sum to one. If
        that leaves no subset of the mixture, the full set's product gets all the weight.
        """
        possible_SB = (self.members_SM @ present_MB.to(self.members_SM.dtype)) > 0
        weights_SB = self.weights_S[:, None] * possible_SB
        total_B = weights_SB.sum(0)
        full_SB = torch.zeros_like(weights_SB)
        full_SB[-1] = 1
        return torch.where(total_B > 0, weights_SB / torch.where(total_B > 0, total_B, 1), full_SB)

    def decode(
        self, z_BZ: Tensor, style_MBW: Tensor | None = None, covariates_BC: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return every decoder's output by modality name, [B, ...]; style defaults to its prior's mean, 0."""
        return self._outputs(self.names, (z_BZ, style_MBW, covariates_BC))

    def means(
        self, z_BZ: Tensor, style_MBW: Tensor | None = None, covariates_BC: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the mean of p(x_m | z, w_m) by modality name, shaped like x_m."""
        outputs = self.decode(z_BZ, style_MBW, covariates_BC)
        return {name: self.likelihood(name).mean(output) for name, output in outputs.items()}

    def mean(
        self, name: str, z_BZ: Tensor, style_MBW: Tensor | None = None, covariates_BC: Tensor | None = None
    ) -> Tensor:
        """Return the mean of p(x_m | z, w_m) of one modality."""
        return self.likelihood(name).mean(self._outputs([name], (z_BZ, style_MBW, covariates_BC))[name])

    def log_prob(
        self, z_BZ: Tensor, x: Mapping[str, Tensor], style_MBW: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return log p(x_m | z, w_m) in nats by the names of the modalities in x, [B].

        Where the model is conditioned on covariates, x has them beside the modalities.
        """
        names = [name for name in self.names if name in x]
        given = z_BZ, style_MBW, x.get(COVARIATES)
        found: dict[str, Tensor] = {}
        for some, output_GB in self._bank_outputs(names, given):
            found |= log_probs(
                {name: self.likelihood(name) for name in some}, output_GB, [x[name] for name in some]
            )
        for name in names:
            if name not in found:
                found[name] = self.likelihood(name).log_prob(self._output(name, given), x[name])
        return {name: found[name] for name in names}

    def _outputs(self, names: Sequence[str], given: Given) -> dict[str, Tensor]:
        """Return the decoders' outputs by the names given, [B, ...]."""
        found: dict[str, Tensor] = {}
        for some, output_GB in self._bank_outputs(names, given):
            found |= zip(some, output_GB, strict=True)
        return {n: found[n] if n in found else self._output(n, given) for n in names}

    def _bank_outputs(self, names: Sequence[str], given: Given) -> Iterator[tuple[tuple[str, ...], Tensor]]:
        """Give the names of the networks of each bank that are wanted, and their outputs [G, B, ...]."""
        for bank in self.banks[1]:
            at = bank.find(names)
            if at is not None and bank.ready(given[0]):
                some = bank.names[at] if self.style_dim else bank.names[:1]  # else all have the same
                h = torch.stack([self.latents(name, *given).t() for name in some])
                yield bank.names[at], bank(h, at).movedim(-1, 1)

    def _output(self, name: str, given: Given) -> Tensor:
        output: Tensor = self.decoders[name](self.latents(name, *given))
        # Under autocast too, densities and means are not computed in half precision.
        return at_least_float32(output)

    def latents(
        self, name: str, z_BZ: Tensor, style_MBW: Tensor | None, covariates_BC: Tensor | None
    ) -> Tensor:
        """Return the input [B, Z + W + C] of a modality's decoder."""
        if not self.style_dim:
            return joined(z_BZ, covariates_BC, self.covariates)
        zeros = z_BZ.new_zeros(len(z_BZ), self.style_dim)
        own_BW = zeros if style_MBW is None else style_MBW[self.names.index(name)]
        return joined(torch.cat([z_BZ, own_BW], 1), covariates_BC, self.covariates)

    def likelihood(self, name: str) -> Likelihood:
        """Return a modality's likelihood."""
        likelihood = self.likelihoods[name]
        assert isinstance(likelihood, Likelihood)
        return likelihood


def build_model(config: TrialConfig, modalities: tuple[ModalitySpec, ...]) -> MoPoE:
    """Return a freshly initialised model; the config's seed determines every weight.

    Args:
        config: the trial's settings.
        modalities: the data set's modalities, each of which names the function that builds its networks.

    Raises:
        ConfigError: a modality's shape or an option does not fit its networks, or they cannot be imported.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "initialisation").initial_seed())
        parts = build_modalities(config, modalities, config.latent_dim + config.style_dim)
    method = resolve_method(config, len(modalities))
    sizes = {"style_dim": config.style_dim, "covariates": width(of_modalities(modalities))}
    model = MoPoE(parts, config.latent_dim, method, **sizes)
    # The channels-last layout was faster in every convolution measured, on CPUs and on GPUs.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stub lacks it
