"""The settings of one trial. Defaults are those of the paper's PolyMNIST run.

Imports no torch, so that a settings file can be checked without it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, ValidationError, create_model
from pydantic.dataclasses import dataclass

from mopoe.errors import ConfigError
from mopoe.network_options import ABOUT, PREFIX, Options, distinct, named, options
from mopoe.subsets import check_simplex
from mopoe.validation import CLOSED, Count, Seed, config_errors, told

Mixture = Literal["stratified", "categorical", "batch_split", "all"]
PriorExpert = Literal["full", "all", "none"]
Aggregation = Literal["product", "barycentre", "hellinger"]
Posterior = Literal["gaussian", "laplace"]
Initialisation = Literal["torch", "he"]
Precision = Literal["float32", "bfloat16"]


def _simplex(weights: tuple[float, ...]) -> tuple[float, ...]:
    check_simplex(weights)
    return weights


def _not_all_zero(weights: str | tuple[float, ...]) -> str | tuple[float, ...]:
    if not any(weights):
        raise ConfigError(f"likelihood_weights is {list(weights)}, but one weight must be above 0")
    return weights


# Ranges are wider than anybody wants, and narrow enough to catch slips.
Weight = Annotated[float, Field(strict=True, ge=0, le=1_000_000)]
LikelihoodWeights = Annotated[
    Literal["dimensions", "none"] | tuple[Weight, ...], AfterValidator(_not_all_zero)
]
Channels = Annotated[int, Field(strict=True, ge=1, le=16_384)]
Simplex = Annotated[
    tuple[Annotated[float, Field(strict=True)], ...],
    AfterValidator(_simplex),
    Field(description="a list of numbers that sum to 1"),
]


@config_errors
@dataclass(frozen=True, slots=True, kw_only=True, config=CLOSED)
class TrialConfig:
    """All that a trial's numbers depend on, beside the data.

    Raises:
        ConfigError: a value has the wrong type or is impossible, or two contradict each other.
    """

    beta: Weight = 2.5
    """Weight of the KL term in the generalized ELBO."""
    beta_warmup_epochs: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    """Epochs over which beta goes from beta_start to its value, changing at every step; 0 for none."""
    beta_start: Weight = 0.0
    """The value at which a warm-up of beta begins; it may lie above beta."""
    beta_schedule: Literal["linear", "cosine", "cyclical"] = "linear"
    """The shape of the warm-up.

    linear: beta changes by the same amount at every step.
    cosine: beta follows half a cosine wave.
    cyclical: the warm-up is repeated for the whole trial; it takes the first half of each period of that
        length, and beta is constant in the second (Fu et al. 2019).
    """
    latent_dim: Annotated[int, Field(strict=True, ge=1, le=65_536)] = 512
    """Number of latent dimensions that all modalities share."""
    style_dim: Annotated[int, Field(strict=True, ge=0, le=65_536)] = 0
    """Number of private latent dimensions of each modality, beside the shared ones."""
    beta_style: Weight = 1.0
    """Weight of the KL terms of the private latents; beta multiplies it."""
    style_weights: tuple[Weight, ...] | None = None
    """Weight of each modality's private KL term; beta_style multiplies it, and null stands for 1 each."""
    style_outside: Literal["posterior", "auxiliary"] = "posterior"
    """Where the private latents of a modality outside of the drawn subset come from in training.

    posterior: its own posterior, as in the released code of MoPoE.
    auxiliary: a prior of trained scale, as in MMVAE+ (Palumbo et al. 2023), which is method moe with it.
    """
    method: Literal["mopoe", "poe", "moe", "mvtcae", "mmjsd"] = "mopoe"
    """Which subsets of the modalities give the posterior.

    mopoe: a mixture over all subsets, each the product of its modalities' posteriors (Sutter et al. 2021).
    poe: the product over all modalities, as in MVAE (Wu and Goodman 2018).
    moe: a mixture over the single modalities, as in MMVAE (Shi et al. 2019).
    mvtcae: the product over all modalities with the total-correlation objective (Hwang et al. 2021), which is
        no lower bound of the log-likelihood.
    mmjsd: a mixture over the single modalities with a Jensen-Shannon divergence in place of the KL
        (Sutter et al. 2020), which is no lower bound of the log-likelihood.
    """
    unimodal_elbos: StrictBool = True
    """Whether method poe adds one ELBO per modality, as MVAE does; other methods add none."""
    tc_ratio: Annotated[float, Field(strict=True, ge=0, le=1)] = 5 / 6
    """The share of the total-correlation term in the loss of method mvtcae."""
    mixture: Mixture = "stratified"
    """How a subset is drawn from the mixture for each sample of a batch.

    stratified: one subset per sample, with the counts in a batch as close to the weights as they can be.
    categorical: one subset per sample, each drawn independently.
    batch_split: one block of neighbouring samples per subset, as in the released code; the effective weights
        depend on the batch size.
    all: every subset for every sample, weighted; decoding costs as many times more as there are subsets.
    """
    subset_weights: Simplex | None = None
    """Mixture weights: one number per subset size or one per subset; null for equal weights of all subsets.

    A file may also name subsets; all others then have weight 0:

        fixed: {subset_weights: {m0: 0.2, m0+m1: 0.8}}

    A list of names gives them equal weights:

        fixed: {subset_weights: [m0, m1, m0+m1]}
    """
    mixture_path: Annotated[float, Field(strict=True, ge=-1, le=1)] | None = None
    """Mixture weights as a point between methods, in place of subset_weights: -1 for all weight on the single
    modalities, 0 for equal weights of all subsets, 1 for all weight on the full set; linear in between.
    At -1 the loss is that of method moe, but several modalities are evaluated by their product, which is then
    not trained; method moe evaluates their mixture."""
    learned_weights: StrictBool = False
    """Whether the mixture weights are trained with the networks, as in CoDE-VAE; it needs mixture all."""
    weight_entropy: Weight = 1000.0
    """Weight of the entropy of learned mixture weights in the loss, in nats per nat."""
    prior_expert: PriorExpert = "full"
    """Which products of posteriors include the prior N(0, I) as one more expert.

    full: the product over all modalities, as in the released code.
    all: every product.
    none: no product.
    """
    aggregation: Aggregation = "product"
    """How the posteriors of a subset's modalities, its experts, become one posterior.

    product: their normalised product (Sutter et al. 2021).
    barycentre: their 2-Wasserstein barycentre, the means of means and of deviations (Qiu et al. 2025).
    hellinger: their Hellinger pool, latent by latent, as the Gaussian with its mean and variance.
    """
    posterior: Posterior = "gaussian"
    """The family of the posteriors and of the prior.

    gaussian: normal distributions with a diagonal covariance.
    laplace: Laplace distributions; they need method moe, since their products are of another family.
    """
    estimator: Literal["elbo", "iwae", "dreg"] = "elbo"
    """Which lower bound of the log-likelihood is maximised.

    elbo: the generalized ELBO.
    iwae: the importance-weighted bound (Burda et al. 2016) by its plain gradient.
    dreg: the importance-weighted bound by its doubly reparameterised gradient (Tucker et al. 2019).
    """
    samples: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    """Latents drawn per sample and step for the importance-weighted bound."""
    missing: Annotated[float, Field(strict=True, ge=0, le=0.99)] = 0.0
    """Share of modalities that are hidden in training, chosen once per sample, which keeps at least one."""
    likelihood: Literal["laplace", "normal", "bernoulli"] = "laplace"
    """The distribution of an image's pixel, given the decoder's output.

    laplace: a Laplace distribution of scale likelihood_scale.
    normal: a normal distribution of standard deviation likelihood_scale.
    bernoulli: a Bernoulli distribution, without a scale.
    """
    likelihood_scale: Annotated[float, Field(strict=True, ge=1e-6, le=1_000_000)] = 0.75
    """Scale of the pixel's distribution, in units of an intensity from 0 to 1."""
    learned_scale: StrictBool = False
    """Whether that scale is trained with the networks, one per modality, starting at likelihood_scale."""
    likelihood_weights: LikelihoodWeights = "dimensions"
    """Weight of each modality's log-likelihood in the loss, as numbers or by a rule.

    dimensions: 1 for the modality with the most dimensions; for any other, that number divided by its own.
    none: 1 for every modality.
    """
    channels: tuple[Channels, Channels, Channels] = (32, 64, 128)
    """Channels of the three convolutions of the PolyMNIST networks; the default is the paper's. Default
    networks of other images and of symbols take them, too."""
    hidden_widths: Annotated[tuple[Channels, ...], Field(min_length=1)] = (128,)
    """Units of each hidden linear layer of the default networks, from the data to the latents."""
    network: Annotated[Options, BeforeValidator(options), Field(description=ABOUT)] = ()
    """Options of the functions that build the networks, for all modalities that have them or for one alone.

    Each is searched by its full name. What a modality has for itself comes before what is for all:

        search_space: {network.dropout: {type: uniform, low: 0, high: 0.5}}
        fixed: {network: {normalisation: layer, m0: {dropout: 0}}}

    The default networks have dropout and normalisation (none, batch or layer) of their hidden linear layers,
    and hidden_widths in place of the setting of that name. docs/own_data.md tells of yours.
    """
    initialisation: Initialisation = "torch"
    """How the networks' weights start.

    torch: by torch's defaults, as in the released code.
    he: by He et al. (2015), which keeps the scale of the signal from layer to layer.
    """
    initial_logvar: Annotated[float, Field(strict=True, ge=-20, le=20)] = 0.0
    """Start value of the posteriors' log-variance; at -5 latents carry signal from the first step."""
    lr: Annotated[float, Field(strict=True, ge=1e-15, le=10)] = 5e-4
    """Learning rate; with a schedule, its largest value."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after its warm-up.

    constant: it stays.
    cosine: it falls to 0 at the end of the last epoch along half a cosine wave.
    """
    lr_warmup_epochs: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    """Epochs over which the learning rate rises from 0 by the same amount at every step; 0 for none."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """The optimiser, with PyTorch's moments.

    adam: weight_decay times a weight is added to its gradient (Kingma and Ba 2015).
    adamw: the learning rate times weight_decay times a weight is taken off it (Loshchilov and Hutter 2019).
    """
    weight_decay: Weight = 0.0
    """Strength of the decay of all trained parameters."""
    grad_clip: Weight = 0.0
    """Largest Euclidean norm of a step's gradient, to which a larger one is scaled; 0 for no limit."""
    precision: Precision = "float32"
    """Number format of the encoders and decoders in training; weights, KL and densities are always float32.

    float32: full precision.
    bfloat16: automatic mixed precision, faster on GPUs that support it; not for CPUs that lack it.
    """
    compile: Literal["no", "step", "graph"] = "no"
    """Whether torch.compile compiles the training step.

    no: the step runs as it is.
    step: the step is compiled.
    graph: the step is compiled and captured as a CUDA graph; it needs a GPU.
    """
    batch_size: Count = 256
    """Samples per step; the last batch of an epoch may be smaller."""
    epochs: Count = 300
    """Passes over the training split."""
    seed: Seed = 0
    """Seed of the initialisation, of the order of the data and of the noise."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other, or that would not act as asked."""
        method, mixture, prior, estimator = self.method, self.mixture, self.prior_expert, self.estimator
        weights = [name for name in ("subset_weights", "mixture_path") if getattr(self, name) is not None]
        weights += ["learned_weights"] * self.learned_weights
        first, both = next(iter(weights), ""), " and ".join(weights[:2])
        laplace, weighted = self.posterior == "laplace", estimator != "elbo"
        fixed = f"{first} is given, but method {method} fixes the subsets' weights; leave one out"
        prior_needed = "prior_expert is none, but method poe multiplies the prior into every product"
        for contradict, sentence in (
            (first and method != "mopoe", fixed),
            (len(weights) > 1, f"{both} are both given; leave one out"),
            (
                self.learned_weights and mixture != "all",
                f"learned_weights needs mixture all, but it is {mixture}",
            ),
            (method == "poe" and prior == "none", prior_needed),
            (laplace and method != "moe", f"posterior laplace needs method moe, but method is {method}"),
            (
                self.aggregation != "product" and method not in ("mopoe", "poe"),
                f"aggregation {self.aggregation} needs method mopoe or poe, but method is {method}",
            ),
            (
                self.style_outside == "auxiliary" and method in ("poe", "mvtcae"),
                f"style_outside auxiliary needs a mixture, but method {method} has the full set alone",
            ),
            (laplace and prior == "all", "posterior laplace needs prior_expert full or none"),
            (self.samples > 1 and not weighted, "samples above 1 needs estimator iwae or dreg"),
            (weighted and method not in ("mopoe", "moe"), f"estimator {estimator} needs method mopoe or moe"),
            (weighted and self.learned_weights, f"estimator {estimator} does not support learned_weights"),
            (
                self.learned_scale and self.likelihood == "bernoulli",
                "likelihood bernoulli has no scale to learn",
            ),
            (self.missing > 0 and mixture == "batch_split", "mixture batch_split needs missing to be 0"),
        ):
            if contradict:
                raise ConfigError(sentence)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Return the config of some settings, plain values such as lists, and of the defaults for the rest.

        Options of networks may be under `network`, or have their full names such as network.hidden.

        Raises:
            ConfigError: as of the class, and a key that is no setting.
        """
        given = distinct(named(settings))
        network = {k: given.pop(k) for k in [*given] if k.startswith(PREFIX)}
        return cls(**{"network": {k.removeprefix(PREFIX): v for k, v in network.items()}} | given)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON and YAML, each option of networks by its full name."""
        plain = asdict(self) | {PREFIX + name: value for name, value in self.network}
        del plain["network"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    def to_json(self) -> str:
        """Return the canonical JSON text: equal configs give equal texts."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @property
    def config_id(self) -> str:
        """A short hash of what is not at its default, but for the seed: replicates of one config share it.

        A setting that is added later, with a default that changes nothing, leaves it as it is.
        """
        defaults = type(self)().to_dict()
        content = {k: v for k, v in self.to_dict().items() if k not in defaults or v != defaults[k]}
        content.pop("seed", None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


_OneSetting: Any = create_model(
    "_OneSetting",
    __config__=CLOSED,
    **{name: (hint, None) for name, hint in get_type_hints(TrialConfig, include_extras=True).items()},  # type: ignore[call-overload]
)


def checked_setting(name: str, value: object) -> Any:
    """Return the value of one setting in its type, whatever the others are.

    Raises:
        ConfigError: there is no such setting, or the value is impossible for it.
    """
    try:
        return getattr(_OneSetting.model_validate({name: value}), name)
    except ValidationError as error:
        raise ConfigError(told(TrialConfig, error)) from None
