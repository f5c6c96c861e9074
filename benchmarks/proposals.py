"""Whether the full set's posterior should give more than an equal share of the log-likelihood's proposals.

Run: python benchmarks/proposals.py [epochs] [name=value ...]     (two minutes a model on one core; 6 epochs)

Trains the middle of the demo's search space with four kinds of mixture weights. Each is then measured with as
many importance samples as the demo takes: equal shares of all subsets, and a given share of the full set's
with the rest equal. Nats are means over the same held-out samples, differences from equal shares are paired
with their standard error, and the least is that of the worst single sample. Every estimate of p(X) is
unbiased, so that the highest mean is the tightest bound.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from common import header
from torch import Tensor

import mopoe
from mopoe.evaluation import log_likelihood as module
from mopoe.runtime import keep_freed_memory
from sweep.config.sweep_spec import load_spec, trial_config_for

KINDS = {
    "equal weights": None,
    "single modalities": (1.0, 0.0, 0.0, 0.0, 0.0),
    "mostly single": (0.8, 0.05, 0.05, 0.05, 0.05),
    "full set": (0.0, 0.0, 0.0, 0.0, 1.0),
    "mostly full set": (0.05, 0.05, 0.05, 0.05, 0.8),
}
SHARES = (0.25, 0.5, 0.75, 0.9)
SAMPLES = 200
EQUAL = module.component_shares


def shares_with(full: float) -> Callable[[int, int], Tensor]:
    """Return the function that gives the last of the components its share and equal ones to the others."""

    def shares(n: int, n_components: int) -> Tensor:
        last = round(full * n)
        return torch.cat([EQUAL(n - last, n_components - 1), torch.tensor([last])])

    return shares


def main() -> None:
    """Print a row per model and share."""
    torch.set_num_threads(1)
    keep_freed_memory()
    given = sys.argv[1:]
    epochs = int(given.pop(0)) if given and given[0].isdigit() else 6
    spec = load_spec("digits")
    data = mopoe.load_data("digits", seed=0)
    k, seed = spec.evaluation.importance_samples, spec.evaluation.seed
    print(header())
    print(f"1 thread; {epochs} epochs, {k} importance samples, {SAMPLES} held-out samples\n")
    print(f"{'model':>18}{'share':>8}{'log p(X)':>12}{'difference':>18}{'least':>8}{'ess':>7}")
    for kind, weights in KINDS.items():
        config = replace(trial_config_for(spec, given), subset_weights=weights, epochs=epochs)
        model = mopoe.train(config, data, lambda _: None).eval()
        found = {}
        for share in (0.0, *SHARES):
            module.component_shares = shares_with(share) if share else EQUAL
            found[share] = module.log_likelihood(model, data.validation, SAMPLES, k, seed)
            gain_N = found[share].log_p_N - found[0.0].log_p_N
            error = float(gain_N.std()) / SAMPLES**0.5
            row = f"{kind:>18}{share or 'equal':>8}{float(found[share].log_p_N.mean()):>12.1f}"
            gain = f"{float(gain_N.mean()):+.1f} ± {error:.1f}" if share else ""
            print(
                f"{row}{gain:>18}{float(gain_N.min()):>8.1f}{float(found[share].ess_N.mean()):>7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
