"""Trained models in use: embed, impute, generate and score arrays in the units of the user's data.

Axes: B batch, E expert (component of a posterior), K draw, M modality, N sample, S subset, U subset that
occurs in a batch, W private latent, X the axes of one sample, Z shared latent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mopoe.checkpoint import load_model, read_progress
from mopoe.data import DATA_SETS
from mopoe.data.container import Split, chunks
from mopoe.data.covariates import given_numbers, of_modalities
from mopoe.data.registry import COVARIATES, ModalitySpec
from mopoe.data.units import Kind, Units, read_samples
from mopoe.distributions import LAPLACE
from mopoe.errors import CheckpointError, DataError
from mopoe.evaluation.coherence import mean_estimate
from mopoe.evaluation.generation import prior_latents, subset_latents
from mopoe.evaluation.log_likelihood import conditional_on, log_likelihood
from mopoe.likelihoods import Categorical
from mopoe.model import Encoded, Given, MoPoE
from mopoe.runtime import full_precision, prepared

Array = Any
"""A numpy array, or a tensor: results are what the first modality was given as."""
_SCORED = 32
"""Samples whose log-likelihoods are estimated between two steps of the bar."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-likelihoods of N samples by importance sampling, in nats (`mopoe.evaluation.log_likelihood`).

    They are densities of the values that the model reads: of images as numbers from 0 to 1, of tables'
    features as standardised ones.
    """

    log_p: Array
    """The estimate for each sample [N]; too low in expectation, unless it is a conditional one."""
    looseness: Array
    """Its rise from half the importance samples to all [N]: to first order what is still missing."""
    ess: Array
    """The effective number of importance samples [N]; near 1 more is missing than the looseness says."""
    mean: float
    """The mean over the samples."""
    stderr: float
    """Its standard error; NaN of a single sample."""


class TrainedModel:
    """A trained model and the modalities of its data.

    All arrays are numpy arrays or tensors by modality name, [N, X], in the units of the data that the model
    was trained on: images of bytes from 0 to 255, floats as they are, symbols as numbers. A sample of which
    every number is NaN is missing. Means of images are floats from 0 to 255; means of symbols are their
    probabilities, [N, symbols, X]. Work of several batches shows a bar on a terminal.

    A model that is conditioned on covariates needs those of every sample: a table or a mapping with a column
    for each, or an array [N, covariates] in their order, in the units of the data.

    Args:
        model: the model, which is put into eval mode.
        modalities: its modalities.
        kinds: how its data set holds each of them, by name.
    """

    def __init__(self, model: MoPoE, modalities: Sequence[ModalitySpec], kinds: Mapping[str, Kind]) -> None:
        self.model = model.eval()
        self.covariates = of_modalities(modalities)
        any_1 = (torch.zeros(1, n, device=model.device) for n in (model.latent_dim, model.covariates))
        z_1Z, c_1C = any_1
        categorical = [n for n in model.names if isinstance(model.likelihood(n), Categorical)]
        symbols = {name: model.mean(name, z_1Z, None, c_1C).shape[1] for name in categorical}
        units = {m.name: Units(m, kinds[m.name], symbols.get(m.name, 128)) for m in modalities}
        self.modalities = {name: units[name] for name in model.names}
        as_read = Units(ModalitySpec(name=COVARIATES, shape=(model.covariates,)), "float32")
        self._inputs = {**self.modalities, COVARIATES: as_read}

    def __repr__(self) -> str:
        """Return the modalities with their kinds and shapes, and the covariates."""
        parts = (f"{name} {u.kind} {list(u.spec.shape)}" for name, u in self.modalities.items())
        given = f" given {', '.join(c.name for c in self.covariates)}" if self.covariates else ""
        return f"<trained model of {', '.join(parts)}{given}; {self.model.latent_dim} latents>"

    @torch.no_grad()
    def embed(
        self, x: Mapping[str, Array], *, covariates: Any = None, std: bool = False, batch_size: int = 256
    ) -> Array:
        """Return the mean [N, Z] of the shared latents' posterior q(z | x), whatever modalities x holds.

        Args:
            x: samples of any modalities.
            covariates: of the samples, if the model is conditioned on any.
            std: whether to return mean and standard deviation, [N, Z] each.
            batch_size: samples encoded at a time.

        Raises:
            DataError: there is no such modality, an array does not fit it, or a sample has none; or the
                covariates are not given, or impossible.
        """
        given, present_MN = self._read(x, covariates)
        means, deviations = [], []
        # The variance of a Laplace density is twice the square of its scale, whose inverse is what is kept.
        factor = 2.0 if self.model.distribution is LAPLACE else 1.0
        for start, stop in _batches(present_MN.shape[1], batch_size, "embedding"):
            mu_EBZ, precision_EBZ, share_EB = self._experts(*self._encode(given, present_MN, start, stop))
            means.append(_average(share_EB, mu_EBZ))
            square_EBZ = factor / precision_EBZ + (mu_EBZ - means[-1]).square()
            deviations.append(_average(share_EB, square_EBZ).sqrt())
        mean, deviation = (_like(x, torch.cat(parts).cpu()) for parts in (means, deviations))
        return (mean, deviation) if std else mean

    @torch.no_grad()
    def impute(
        self,
        x: Mapping[str, Array],
        samples: int | None = None,
        seed: int = 0,
        *,
        covariates: Any = None,
        batch_size: int = 256,
    ) -> dict[str, Array]:
        """Return the modalities that x lacks, or has not for every sample, as the model decodes them.

        Args:
            x: samples of some modalities.
            samples: None decodes the posterior's mean (of a mixture: averages over its experts' means), with
                private latents at 0: [N, X]. If decoders are linear this is the conditional mean, else only
                near it. A number K decodes K latents of the posterior, and private ones of their prior, as
                coherence does: [N, K, X], whose mean over K converges to the conditional mean.
            seed: determines the draws, each a function of the seed and the sample's position.
            covariates: of the samples, if the model is conditioned on any.
            batch_size: samples at a time.

        Raises:
            DataError: as for `embed`, or nothing is left to impute.
        """
        given, present_MN = self._read(x, covariates)
        complete = present_MN.all(1).tolist()
        wanted = [name for name, known in zip(self.modalities, complete, strict=True) if not known]
        if not wanted:
            raise DataError("every modality is given for every sample, so there is nothing to impute")
        if samples is not None and samples < 1:
            raise DataError(f"samples is {samples}, but must be at least 1, or None for means")
        parts: list[dict[str, Tensor]] = []
        for start, stop in _batches(present_MN.shape[1], batch_size, "imputing"):
            q, s_B = self._encode(given, present_MN, start, stop)
            mu_EBZ, _, share_EB = self._experts(q, s_B)
            latents: list[Given] = [(mu_BZ, None, q.covariates_BC) for mu_BZ in mu_EBZ]
            if samples is not None:
                of = (self.model, q, s_B, seed)
                latents = [subset_latents(*of, f"impute {k}", start, stop) for k in range(samples)]
            found = {name: torch.stack([self.model.mean(name, *z) for z in latents]) for name in wanted}
            if samples is None:
                parts.append({name: _average(share_EB, mean_EBX).cpu() for name, mean_EBX in found.items()})
            else:
                parts.append({name: mean_KBX.transpose(0, 1).cpu() for name, mean_KBX in found.items()})
        return self._in_units(parts, x)

    @torch.no_grad()
    def generate(
        self, n: int, seed: int = 0, *, covariates: Any = None, batch_size: int = 256
    ) -> dict[str, Array]:
        """Return n samples of all modalities: decoded latents of the prior, as numpy arrays [n, X].

        Args:
            n: how many, at least 1.
            seed: determines them, each as a function of the seed and its position.
            covariates: one row for each of the n, if the model is conditioned on any.
            batch_size: latents decoded at a time.

        Raises:
            DataError: the covariates are not given, or impossible.
        """
        c_NC, device, parts = given_numbers(self.covariates, covariates, n), self.model.device, []
        for start, stop in _batches(n, batch_size, "generating"):
            c_BC = None if c_NC is None else c_NC[start:stop].to(device)
            parts.append(self.model.means(*prior_latents(self.model, seed, "generate", start, stop), c_BC))
        return self._in_units(parts, {})

    def log_likelihood(
        self,
        x: Mapping[str, Array],
        given: str | Sequence[str] = (),
        samples: int = 256,
        seed: int = 0,
        *,
        covariates: Any = None,
    ) -> Scores:
        """Return log p(x) of the modalities in x together, or log p(x_rest | x_given).

        Args:
            x: samples of some modalities, none of them missing.
            given: the names of those on which the others are conditioned.
            samples: importance samples per sample; two per subset of x or more tell the looseness.
            seed: determines the noise.
            covariates: of the samples, on which all these densities are conditioned if the model is.

        Raises:
            DataError: as for `embed`, a sample is missing, or `given` is no proper part of x.
        """
        read, present_MN = self._read(x, covariates)
        observed = {given} if isinstance(given, str) else {*given}
        if int(present_MN.sum()) < len(x) * present_MN.shape[1]:
            raise DataError("samples are missing, but a log-likelihood is that of complete ones")
        if not observed < {*x}:
            found = ", ".join(sorted(observed))
            raise DataError(f"given is {found}, but must name some, and not all, of {', '.join(x)}")
        parts = []
        for start, stop in _batches(present_MN.shape[1], _SCORED, "scoring"):
            inputs = {name: self._inputs[name].to_model(x_NX[start:stop]) for name, x_NX in read.items()}
            # Noise is a function of the seed and of the position in the batch, whose size is therefore fixed.
            how = (self.model, Split(inputs, torch.zeros(stop - start)), stop - start, samples, seed + start)
            part = log_likelihood(*how, observed=self._mask(read))
            if observed:
                part = conditional_on(part, log_likelihood(*how, observed=self._mask(observed)))
            parts.append(part)
        log_p_N, rise_N, ess_N = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("log_p_N", "rise_N", "ess_N")
        )
        mean, stderr = mean_estimate(log_p_N)
        return Scores(_like(x, log_p_N), _like(x, rise_N), _like(x, ess_N), mean, stderr)

    def _read(self, x: Mapping[str, Array], covariates: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Return `read_samples`, with the numbers of the covariates beside the samples."""
        read, present_MN = read_samples(self.modalities, x)
        c_NC = given_numbers(self.covariates, covariates, present_MN.shape[1])
        return read if c_NC is None else {**read, COVARIATES: c_NC}, present_MN

    def _mask(self, names: Mapping[str, Tensor] | set[str]) -> int:
        return sum(1 << m for m, name in enumerate(self.model.names) if name in names)

    def _encode(
        self, given: Mapping[str, Tensor], present_MN: Tensor, start: int, stop: int
    ) -> tuple[Encoded, Tensor]:
        """Return the unimodal posteriors of a batch, and the position in `masks` of what each sample has."""
        model = self.model
        x = {n: self._inputs[n].to_model(x_NX[start:stop].to(model.device)) for n, x_NX in given.items()}
        bits_M1 = 2 ** torch.arange(len(present_MN))[:, None]
        masks = (present_MN[:, start:stop] * bits_M1).sum(0).tolist()
        with full_precision(model.members_SM):
            q = model.encode(x)
        return q, torch.tensor([model.masks.index(mask) for mask in masks], device=model.device)

    def _experts(self, q: Encoded, s_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the components of q(z | x): means and precisions [E, B, Z], and their shares [E, B].

        There is one; under a mixture of experts one per modality, in equal shares of those a sample has.
        """
        if self.model.method.mixture_of_experts:
            share_MB = self.model.expert_shares_SM[s_B].t()
            some = share_MB.any(1)
            return q.mu_MBZ[some], q.precision_MBZ[some], share_MB[some]
        subsets, at_B = s_B.unique(return_inverse=True)
        mu_UBZ, precision_UBZ = self.model.posteriors(q, subsets)
        at = at_B, torch.arange(len(at_B), device=at_B.device)
        return mu_UBZ[at][None], precision_UBZ[at][None], mu_UBZ.new_ones(1, len(at_B))

    def _in_units(self, parts: Sequence[Mapping[str, Tensor]], x: Mapping[str, Array]) -> dict[str, Array]:
        whole = {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}
        return {name: _like(x, self.modalities[name].to_user(mean)) for name, mean in whole.items()}


def load(path: str | Path, *, device: torch.device | str = "cpu") -> TrainedModel:
    """Return the trained model of a checkpoint, ready for use.

    Its data set is not needed. Networks of the user's own are imported by the rules of `mopoe.plugins`.

    Args:
        path: a file of `checkpoints/` in a results folder, or any that `mopoe.train` wrote.
        device: where to compute: "cpu", "cuda", ...

    Raises:
        CheckpointError: the file is missing, damaged or of a newer format, or it is of the first format and
            of a data set that does not come with this release.
        ConfigError: the networks cannot be built.
    """
    progress = read_progress(path)
    modalities, held = progress.modalities, progress.kinds
    if not modalities and progress.data in DATA_SETS:
        modalities = DATA_SETS[progress.data].modalities
        held = {m.name: "int8" if m.network.endswith(":text") else "uint8" for m in modalities}
    elif not modalities:
        raise CheckpointError(
            f"{path}: was written before checkpoints held their modalities, and {progress.data!r} is no data "
            "set of this release; use mopoe.load_model, which takes the modalities as an argument"
        )
    return TrainedModel(load_model(path, modalities).to(prepared(device)), modalities, held)


def _batches(n: int, size: int, what: str) -> Iterator[tuple[int, int]]:
    """Give the start and the end of each batch, with a bar on a terminal if there are several."""
    from rich.console import Console
    from rich.progress import track

    console, runs = Console(stderr=True), list(chunks(n, size))
    quiet = len(runs) < 2 or not console.is_terminal
    yield from track(runs, what, console=console, transient=True, disable=quiet)


def _average(share_EB: Tensor, values_EBX: Tensor) -> Tensor:
    """Return the averages [B, X] over experts."""
    return (share_EB.view(*share_EB.shape, *(1 for _ in values_EBX.shape[2:])) * values_EBX).sum(0)


def _like(x: Mapping[str, Array], t: Tensor) -> Array:
    """Return a result as what the first modality was given as."""
    return t if isinstance(next(iter(x.values()), None), Tensor) else t.numpy()
