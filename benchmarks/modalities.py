"""Whether seeds decide which modalities of `digits` a trial learns.

Run: python benchmarks/modalities.py [seeds] [name=value ...]     (half a minute a seed on one core; 10 seeds)

Trains the middle of the demo's search space, or what assignments make of it, once per seed. Each modality's
negative log-likelihood (nats a validation sample, a latent drawn from the full set's posterior) stands beside
that of one image for all, the training split's median, where training begins. A seed is late with a modality
if it has gained less than a third of what the best seed has; the widest gap is that between seeds in order.
"""

import statistics
import sys
from dataclasses import replace
from itertools import pairwise

import torch
from common import header, spread

import mopoe
from mopoe.data.container import to_unit
from mopoe.runtime import keep_freed_memory
from sweep.config.sweep_spec import load_spec, trial_config_for

SAMPLES = 200


@torch.no_grad()
def nats(model: mopoe.MoPoE, data: mopoe.MultimodalData) -> tuple[dict[str, float], dict[str, float]]:
    """Return the negative log-likelihood of each modality: the model's, and that of the median image."""
    x = data.validation.batch(slice(SAMPLES), torch.device("cpu"))
    mu_1BZ, precision_1BZ = model.posteriors(model.encode(x), slice(-1, None))
    noise_BZ = torch.randn(mu_1BZ[0].shape, generator=torch.Generator().manual_seed(0))
    log_p = model.log_prob(mu_1BZ[0] + noise_BZ * precision_1BZ[0].rsqrt(), x)
    plain = {
        name: model.likelihood(name).log_prob(to_unit(split.median(0, keepdim=True).values), x[name])
        for name, split in data.train.x.items()
    }
    means = ({name: -value_B.mean().item() for name, value_B in found.items()} for found in (log_p, plain))
    return next(means), next(means)


def main() -> None:
    """Print a row per modality, and what all modalities together came to."""
    torch.set_num_threads(1)
    keep_freed_memory()
    given = sys.argv[1:]
    seeds = int(given.pop(0)) if given and given[0].isdigit() else 10
    spec = load_spec("digits")
    data = mopoe.load_data("digits", seed=0)
    config = trial_config_for(spec, given)
    settings = replace(spec.evaluation, pictures=0, final_metrics=())
    evaluator = mopoe.Evaluator(data, mopoe.load_classifiers(data), settings, epochs=config.epochs)
    learned, found = [], []
    print(header())
    weights = config.subset_weights
    print(f"1 thread; beta {config.beta:.3g}, latent_dim {config.latent_dim}, subset_weights {weights}")
    for seed in range(seeds):
        model = mopoe.train(replace(config, seed=seed), data, lambda _: None)
        found.append(evaluator.measure(model, "objectives").objectives)
        values, plain = nats(model, data)
        learned.append(values)
    print(f"{seeds} seeds, {config.epochs} epochs; nats as median (minimum to maximum)\n")
    print(f"{'modality':>10}{'one image':>12}{'learned':>24}{'spread':>9}{'widest gap':>13}{'late':>7}")
    for name, start in plain.items():
        order = sorted(values[name] for values in learned)
        gap = max((b - a for a, b in pairwise(order)), default=0)
        late = sum(start - value < (start - order[0]) / 3 for value in order)
        row = f"{name:>10}{start:>12.0f}{spread(order, 0):>24}{order[-1] - order[0]:>9.0f}{gap:>13.0f}"
        print(f"{row}{late:>7}")
    for name, digits in (("conditional_coherence", 3), ("log_likelihood", 0)):
        values = [objectives[name] for objectives in found]
        print(f"{name}: mean {statistics.mean(values):.{digits}f}, {spread(values, digits)}")


if __name__ == "__main__":
    main()
