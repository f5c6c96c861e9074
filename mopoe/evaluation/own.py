"""Calls a user's own metrics and records what they return. Axis: N held-out sample."""

import math
import reprlib
from dataclasses import replace

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.errors import ConfigError
from mopoe.evaluation.coherence import mean_estimate
from mopoe.evaluation.final_metrics import EvalContext, subset_metric
from mopoe.model import MoPoE
from mopoe.own_metrics import Metric, MetricContext, promised
from mopoe.plugins import named_function, reason
from mopoe.random_streams import generator
from mopoe.reports import SubsetMetric

Own = tuple[list[SubsetMetric], dict[str, Tensor]]
"""The numbers of metrics, and by name the values [N] of those that are one mean over samples."""


def own_metrics(model: MoPoE, split: Split, context: EvalContext) -> Own:
    """Return what the metrics of the config return; of one that fails, NaN with the reason."""
    metrics: list[SubsetMetric] = []
    by_sample: dict[str, Tensor] = {}
    for reference in context.config.metrics:
        try:
            some, values = called(reference, model, split, context)
        except ConfigError as error:
            nan = (subset_metric(model.masks[-1], name, (math.nan, None), 0) for name in promised(reference))
            some, values = [replace(metric, error=str(error)) for metric in nan], {}
        metrics += some
        by_sample |= values
    return metrics, by_sample


def called(reference: str, model: MoPoE, split: Split, context: EvalContext) -> Own:
    """Call one metric, without gradients and with torch's global generator seeded, and check what it returns.

    Raises:
        ConfigError: it raised, or returned something other than it promised.
    """
    what, seed, device = f"metric {reference!r}", context.config.seed, model.device
    rng = generator(seed, reference, device=device)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator(seed, reference).initial_seed())
            given = MetricContext(data=context.data, device=device, generator=rng)
            found = named_function(reference)(model, split, given)
    except Exception as error:  # a user's metric may raise anything
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise  # this process cannot use its GPU any more
        raise ConfigError(f"{what} failed ({reason(error)})") from error
    finally:
        model.eval()
    entries = [found] if isinstance(found, Metric) else found
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Metric) for entry in entries):
        raise ConfigError(
            f"{what} returned {_short(found)}, but must return a mopoe.Metric, or a list of them"
        )
    wanted, names = promised(reference), [entry.name for entry in entries]
    if wrong := sorted({*names} ^ wanted.keys()):
        verb = "returned" if wrong[0] in names else "did not return"
        raise ConfigError(f"{what} {verb} {wrong[0]!r}; it promises: {', '.join(wanted)}")
    rows = [_row(f"{what}: {entry.name}", entry, model) for entry in entries]
    if len({(row.metric, row.subset_mask, row.target) for row, _ in rows}) < len(rows):
        raise ConfigError(f"{what} returned two numbers for one name, subset and target")
    means = {row.metric: v_N for row, v_N in rows if v_N.dim() and names.count(row.metric) == 1}
    return [row for row, _ in rows], means


def _row(what: str, entry: Metric, model: MoPoE) -> tuple[SubsetMetric, Tensor]:
    """Return the record of a number, and the number or its values [N] by sample."""
    try:
        values_N = torch.as_tensor(entry.value).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        values_N = torch.zeros(0)
    if values_N.dim() > 1 or not values_N.numel() or not bool(values_N.isfinite().all()):
        must = "but must be a finite number, or a list of one per held-out sample"
        raise ConfigError(f"{what} is {_short(entry.value)}, {must}")
    for name in (*entry.subset, *filter(None, [entry.target])):
        if name not in model.names:
            raise ConfigError(f"{what} is of {name!r}, but the modalities are: {', '.join(model.names)}")
    members = {model.names.index(name) for name in entry.subset} or range(len(model.names))
    estimate = mean_estimate(values_N) if values_N.dim() else (float(values_N), entry.stderr)
    n, mask = values_N.numel() if values_N.dim() else 0, sum(1 << m for m in members)
    return subset_metric(mask, entry.name, estimate, n, entry.target), values_N


def _short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())
