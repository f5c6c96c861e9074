"""What a sweep would cost: parameters, memory and time of some trials, from a few real training steps."""

import math
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import build_model
from mopoe.rehearsal import check_memory, rehearse, training_bytes
from mopoe.runtime import keep_freed_memory
from mopoe.training import banks_fit, train
from sweep.config.parameters import Choice, Int, Parameter
from sweep.config.settings import is_option
from sweep.config.sweep_spec import SweepSpec, trial_config_for
from sweep.running.progress import duration
from sweep.running.shared_inputs import load_inputs, samples_text
from sweep.running.worker import device_here
from sweep.search.samplers import check_sampler
from sweep.search.study import ConfigStudy
from sweep.search.trial import config_name

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers

STEPS = 4
"""Training steps that are timed, after as many to warm up."""
CORNERS = 8
"""The largest number of corners of the search space that are measured."""
SUGGESTIONS = 3
"""Suggestions of the sampler that are measured; their mean stands for all trials."""
SHARE = 10
"""One in this many held-out samples is evaluated, and the time multiplied."""

_COSTLY = (
    *(
        "latent_dim",
        "style_dim",
        "batch_size",
        "channels",
        "hidden_widths",
        "mixture",
        "method",
        "unimodal_elbos",
    ),
    *("estimator", "samples", "epochs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one trial."""

    parameters: int
    """Parameters of the model."""
    memory: int | None
    """Peak of training in bytes: parameters, gradients, Adam's state, activations; None if not known."""
    epoch_seconds: float
    """Time to train one epoch."""
    evaluation_seconds: float
    """Time of one evaluation."""
    trial_seconds: float
    """Time of all epochs and evaluations."""


def print_costs(spec: SweepSpec, console: Console) -> None:
    """Print the cost of corners of the search space, of the first suggestions, and of the whole sweep here.

    Raises:
        DataError: the data set cannot be built, or a modality does not work with its networks.
        ConfigError: a trial does not fit into memory, or the sampler of the user's own cannot be made.
    """
    check_sampler(spec)
    device = device_here(spec)
    torch.set_num_threads(max(1, int(spec.resources.cpu)))
    keep_freed_memory()  # as workers do
    data, classifiers = load_inputs(spec)
    middle = trial_config_for(spec, ())
    check_memory(middle, data, device)
    rehearse(middle, data, classifiers, spec.evaluation)
    searched = list(_costly(spec))
    table = Table(box=None)
    for column in ("", *searched, "parameters", "memory", "epoch", "evaluation", "trial"):
        table.add_column(column, justify="right" if column else "left")
    suggested = first_suggestions(spec)
    seconds = []
    for label, config in (*(("corner", c) for c in corners(spec)), *suggested.items()):
        cost = measure(config, spec.evaluation, data, classifiers, device, spec.rungs)
        seconds += [cost.trial_seconds] if label in suggested else []
        times = (cost.epoch_seconds, cost.evaluation_seconds, cost.trial_seconds)
        settings = (str(config.to_dict().get(name, "")) for name in searched)
        memory = "?" if cost.memory is None else f"{cost.memory / 2**20:,.0f} MiB"
        sizes = (f"{cost.parameters:,}", memory)
        table.add_row(label, *settings, *sizes, *map(_time, times))
    at_once = spec.resources.slots(os.cpu_count() or 1, torch.cuda.device_count())
    seeds, later = spec.replicates.count, spec.replicates.when in ("front", "uncertain")
    trials = spec.trials * (1 if later else seeds)
    total = math.ceil(trials / at_once) * sum(seconds) / len(seconds)
    some = f"{seeds - 1} for each config on the front"
    if spec.replicates.when == "uncertain":
        kind = "folds" if spec.replicates.folds else "seeds"
        some = f"up to {seeds - 1} further {kind} of each config that decides where the front is"
    more = f", then {some}" if later and seeds > 1 else ""
    hours = spec.budget.hours
    over = hours is not None and total > 3600 * hours
    cut = f", but no trial begins after the {hours:g} hours of the budget" if over else ""
    shapes = ", ".join(f"{m.name} {list(m.shape)}" for m in data.modalities)
    console.print(f"{samples_text(data)}; {shapes}", highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    about = f"about {duration(total)}{cut}"
    if len(suggested) < table.row_count:
        told = "corner: settings at the ends of the search space; the others are the first trials"
        console.print(told, highlight=False, soft_wrap=True)
    console.print(
        f"\n{trials} trials{more}, {at_once} at once on this machine ({device}): {about}",
        highlight=False,
        soft_wrap=True,
    )


def corners(spec: SweepSpec) -> list[TrialConfig]:
    """Return corners in the settings that cost depends on; all other settings are in their middle."""
    axes = _costly(spec)
    middle = trial_config_for(spec, ()).to_dict()
    configs = []
    for values in product(*axes.values()):
        try:
            configs.append(TrialConfig.from_dict({**middle, **dict(zip(axes, values, strict=True))}))
        except ConfigError:  # settings that exclude each other
            continue
    step = max(1, math.ceil((len(configs) - 1) / (CORNERS - 1)))
    return [*configs[:-1:step], *configs[-1:]]


def first_suggestions(spec: SweepSpec) -> dict[str, TrialConfig]:
    """Return the configs that the sampler begins with, by trial."""
    study = ConfigStudy(spec)
    asked = {name: study.ask(name) for name in map(config_name, range(min(SUGGESTIONS, spec.n_configs)))}
    return {name: spec.trial_config(spec.space.settings(s)) for name, s in asked.items() if s is not None}


def measure(
    config: TrialConfig,
    evaluation: EvaluationConfig,
    data: "MultimodalData",
    classifiers: "Classifiers",
    device: str,
    also: Collection[int] = (),
) -> Cost:
    """Return a trial's cost on the device, from a few steps and a share of its last evaluation.

    `also` are epochs that are evaluated besides those of `evaluation.every`: a scheduler's rungs.
    """
    check_memory(config, data, device)
    n = min(len(data.train), STEPS * config.batch_size)
    model = build_model(config, data.modalities)
    # Only the time matters, and training with so small a learning rate cannot diverge.
    short = replace(config, lr=1e-12, epochs=2)
    memory = training_bytes(config, data)
    seconds: list[float] = []
    some_data = replace(data, train=data.train.take(torch.arange(n)))
    train(short, some_data, lambda r: seconds.append(r.seconds), model=model, device=device)
    if banks_fit(config, device):  # as a trial is measured
        model.bank()
    parameters = sum(p.numel() for p in model.parameters())
    some = {name: max(1, getattr(evaluation, name) // SHARE) for name in _SAMPLES}
    evaluator = Evaluator(data, classifiers, replace(evaluation, **some), epochs=1, device=device)
    evaluation_seconds = evaluator.measure(model, "objectives").seconds * SHARE
    every = evaluation.every or config.epochs
    rungs = {*range(every, config.epochs, every), *(epoch for epoch in also if epoch < config.epochs)}
    # A rung uses few enough samples to be timed in full.
    at_rung = Evaluator(data, classifiers, evaluation, epochs=1, device=device)
    rung_seconds = at_rung.measure(model, "rung").seconds if rungs else 0.0
    epoch_seconds = seconds[-1] * len(data.train) / n
    return Cost(
        parameters=parameters,
        memory=memory,
        epoch_seconds=epoch_seconds,
        evaluation_seconds=evaluation_seconds,
        trial_seconds=config.epochs * epoch_seconds + len(rungs) * rung_seconds + evaluation_seconds,
    )


_SAMPLES = ("coherence_samples", "joint_samples", "likelihood_samples")


def _costly(spec: SweepSpec) -> dict[str, tuple[Any, ...]]:
    """Return the ends of the searched settings that cost depends on, whole numbers of networks among them."""
    ends = {name: _ends(parameter) for name, parameter in spec.search_space.items()}
    sizes = {n: (min(e), max(e)) for n, e in ends.items() if is_option(n) and {*map(type, e)} == {int}}
    return {name: ends[name] for name in _COSTLY if name in ends} | sizes


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    match parameter:
        case Choice(values=values):
            return values
        case Int(low=low, high=high):
            return (low, high)
    return ()


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)
