"""The text of a first sweep's file: a shipped one, or one made for a data set by what the data are like."""

import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mopoe.config import TrialConfig
from mopoe.data import DATA_SETS, load_data
from mopoe.errors import ConfigError
from search_spaces import find, parsed
from sweep.config.sweep_spec import spec_of

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData

STEPS = 3000
"""About so many steps of training are enough to compare configs on small data."""
MOST_HELD_OUT = 250
"""Most held-out samples that are measured."""


def first_file(file: Path, data: Mapping[str, Any]) -> str:
    """Return the text of a sweep's file for a data set; it is checked, and runs as it is.

    Args:
        file: where it will be; its stem is the sweep's name.
        data: the name of the data set and its options, as in the file.

    Raises:
        ConfigError: the name or an option is wrong, or the file's name names no sweep.
        DataError: the data cannot be loaded.
    """
    name = str(data["name"])
    if name in DATA_SETS and DATA_SETS[name].modalities:
        text = _shipped(file, data)
    else:
        text = _made(file, data, load_data(**data))
    spec_of(parsed(text, file))
    return text


def _flow(value: object) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _shipped(file: Path, data: Mapping[str, Any]) -> str:
    name = str(data["name"])
    path = find(name)
    text = path.read_text(encoding="utf-8")
    given = parsed(text, path).data["data"] | data
    text = re.sub(r"^name: \S+", f"name: {file.stem}", text, flags=re.MULTILINE)
    text = re.sub(r"^data: \{.*\}", f"data: {_flow(given)}", text, flags=re.MULTILINE)
    text = re.sub(r" +\(or: make demo\)", "", text)
    return text.replace(f"search_spaces/{path.name}", str(file)).replace(
        f"results/{name}", f"results/{file.stem}"
    )


_TEMPLATE = """\
# {what}
#
#   sweep run {file} --dry-run: what it would cost
#   sweep run {file}: writes results/{name}
#   sweep report results/{name}: front, page, figures
#
# Every key is checked; `sweep show-config {file}` prints this file with all defaults filled in.
name: {name}
data: {data}
trials: 24
replicates: {{ seeds: 3, when: front }} # two further seeds of what is on the front
objectives: {objectives} # {meaning}
reference_point: {reference} # where the hypervolume begins: {corner}

search_space:
  beta: {{ type: log_uniform, low: 0.1, high: 4.0 }} # weight of the KL term
  latent_dim: {{ type: int, low: {low}, high: {high} }}
  # One weight per subset size, uniform on the simplex: all on size 1 is a mixture of experts, all on size {n}
  # a product of experts.
  subset_weights: {{ type: simplex, over: size }}

fixed:
  epochs: {epochs} # about {steps} steps
  batch_size: {batch}
  lr: 0.002
{networks}  initialisation: he
  likelihood_weights: none # every feature counts alike, as in the log-likelihood

evaluation: # the same samples and noise for every trial
{evaluation}
"""


def _made(file: Path, data: Mapping[str, Any], loaded: "MultimodalData") -> str:
    features = sum(math.prod(m.shape) for m in loaded.modalities)
    n_train, n_held_out = len(loaded.train), len(loaded.validation.complete())
    high = min(128, max(8, features // 2))
    hidden = min(256, max(32, 2 ** round(math.log2(features))))
    batch = next(size for size in (256, 128, 64, 32, 16) if size == 16 or n_train >= 12 * size)
    epochs = min(300, max(10, round(STEPS * batch / n_train)))
    by_modality = _without_latents(loaded)
    reference = {"log_likelihood": _below(sum(by_modality))}
    subsets = 2 ** len(loaded.modalities) - 1
    evaluation = {
        "likelihood_samples": _held_out(n_held_out),
        "importance_samples": subsets * math.ceil(600 / subsets),
    }
    if loaded.n_classes:
        evaluation |= {"coherence_samples": _held_out(n_held_out), "joint_samples": 500}
        reference = {"conditional_coherence": _chance(loaded), **reference}
        corner = "chance, and below what constant outputs reach"
        meaning = "right classes of what is generated; nats of all modalities together"
    else:
        reference["log_likelihood_conditional"] = _below(sum(by_modality) / len(by_modality))
        corner = "below what constant outputs reach"
        meaning = "nats of all modalities together, and of one given others"
    shapes = ", ".join(f"{m.name} {'x'.join(map(str, m.shape))}" for m in loaded.modalities)
    what = f"A first sweep over {n_train} training samples of {shapes}, made by `sweep init` from the data."
    final = "" if loaded.n_classes else "  final_metrics: [conditional_likelihood]\n"
    return _TEMPLATE.format(
        what="\n# ".join(textwrap.wrap(what, 108)),
        file=file,
        name=file.stem,
        data=_flow(dict(data)),
        objectives=_flow(list(reference)),
        reference=_flow(reference),
        meaning=meaning,
        corner=corner,
        low=max(2, high // 8),
        high=high,
        n=len(loaded.modalities),
        epochs=epochs,
        steps=epochs * math.ceil(n_train / batch),
        batch=batch,
        networks=f"  hidden_widths: [{hidden}]\n"
        if any(len(m.shape) == 1 for m in loaded.modalities)
        else "",
        evaluation=final + "\n".join(f"  {key}: {value}" for key, value in evaluation.items()),
    )


def _chance(data: "MultimodalData") -> float:
    """Return the share of the most frequent class; of attributes, one over their number."""
    labels = data.train.labels
    share = float(labels.bincount().max()) / len(labels) if labels.dim() == 1 else 1 / data.n_classes
    return round(share, 3)


def _held_out(n: int) -> str:
    """Return how many of n complete held-out samples are measured, and what to do about few of them."""
    if n > MOST_HELD_OUT:
        return str(MOST_HELD_OUT)
    few = "; with so few, `replicates: {folds: 5}` tells more" if n < 100 else ""
    return f"{n} # all held-out samples that have every modality{few}"


def _without_latents(data: "MultimodalData") -> list[float]:
    """Return each modality's mean log-likelihood in nats of held-out samples, by its best constant output.

    Raises:
        ConfigError: a modality is of another kind than the default networks take, or has no held-out sample.
    """
    import torch

    from mopoe.data.container import to_unit
    from mopoe.networks import build_modality

    found = []
    for m in data.modalities:
        likelihood = build_modality(TrialConfig(), m, 2).likelihood
        train, held_out = (
            to_unit(split.complete().stored(m.name, slice(0, 5000)))
            for split in (data.train, data.validation)
        )
        with torch.inference_mode():
            output = likelihood.constant(train)
            if output is None or not len(held_out):
                raise ConfigError(f"modality {m.name!r} has no baseline; write its sweep's file by hand")
            found.append(
                float(likelihood.log_prob(output.expand(len(held_out), *output.shape[1:]), held_out).mean())
            )
    return found


def _below(value: float) -> float:
    """Return a number of two digits below this one by a tenth of its size.

    >>> _below(-1234.5), _below(3.21)
    (-1400.0, 2.8)
    """
    lower = value - 0.1 * abs(value)
    unit = 10.0 ** (math.floor(math.log10(abs(lower) or 1.0)) - 1)
    return float(f"{math.floor(lower / unit) * unit:.6g}")
