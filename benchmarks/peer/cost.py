"""CPU time and memory of evaluation: this project against multivae 1.0.3, on the same weights and samples.

Run: make compare-cost      (this part: six minutes on one core; prints tables and what they were measured on)

The paper's model (M=5, Z=512) and the demo's narrow one, for which multivae has no networks and gets ours;
float32, one thread; ours also with decoders and classifiers in bfloat16. Each side has a process of its own,
they take turns, and ratios are taken round by round. multivae's coherence is measured as its documentation
has it, over the 75 (subset, target) pairs whose target is not in the subset, and with the targets that are,
which makes 150; ours over the same 75, and over all 155.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from alternate import alternate

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import header, spread

import mopoe
from mopoe.data.registry import ModalitySpec
from mopoe.evaluation.classifiers import ImageClassifier
from mopoe.evaluation.coherence import conditional_coherence
from mopoe.evaluation.log_likelihood import joint_log_likelihood

CPU = torch.device("cpu")
ROUNDS = 5
SIDES = ("multivae", "ours", "ours, bf16")
COHERENCE_SAMPLES = 64
# Each with the samples and the importance samples of its log-likelihood.
SIZES = (
    (mopoe.TrialConfig(initialisation="he", initial_logvar=-3), 4, 310),
    (mopoe.TrialConfig(initialisation="he", initial_logvar=-5, latent_dim=96, channels=(8, 16, 32)), 40, 62),
)
TASKS = (
    "log-likelihood, per importance sample",
    "coherence per test sample, 75 and 75 pairs",
    "coherence per test sample, 155 and 150 pairs",
)


def make(config: mopoe.TrialConfig, samples: int, k: int, task: str, side: str) -> Callable[[], object]:
    """Return one side's work of a task; a log-likelihood takes so many samples, k importance samples each."""
    specs = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
    ours = mopoe.build_model(config, specs).eval()
    torch.manual_seed(0)
    x = {m.name: torch.rand(COHERENCE_SAMPLES, *m.shape) for m in specs}
    labels = torch.arange(COHERENCE_SAMPLES) % 10
    networks = {m.name: ImageClassifier(3, 10).eval() for m in specs}
    own_targets = "155" in task

    def work() -> object:
        if task.startswith("log-likelihood"):
            return joint_log_likelihood(ours, split, samples, k, 0)
        return conditional_coherence(ours, split, classifiers, COHERENCE_SAMPLES, 0, own_targets=own_targets)

    if side != "multivae":
        classifiers = mopoe.Classifiers(networks=networks, accuracy={}, hash="")
        split = mopoe.Split(x, labels)
        if "bf16" not in side:  # as a trial is measured
            ours.bank()

        def precisely() -> object:
            with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in side):
                return work()

        return precisely
    from bridge import dataset, peer
    from multivae.metrics import CoherenceEvaluator, CoherenceEvaluatorConfig

    has_networks = config.channels == mopoe.TrialConfig().channels
    theirs = peer("MoPoE", ours, own_networks=has_networks).eval()

    def their_work() -> object:
        with torch.no_grad():
            if task.startswith("log-likelihood"):
                few = dataset({name: a[:samples] for name, a in x.items()})
                return theirs.compute_joint_nll(few, k)
            settings = CoherenceEvaluatorConfig(num_classes=10, include_recon=own_targets)
            return CoherenceEvaluator(
                theirs, networks, dataset(x, labels), eval_config=settings
            ).cross_coherences()

    return their_work


def measure(config: mopoe.TrialConfig, samples: int, k: int) -> None:
    """Print the table of a size."""
    amounts = f"{samples} samples with K={k}; {COHERENCE_SAMPLES} samples for coherence"
    print(f"Z={config.latent_dim}, channels {config.channels}: {amounts}; 1 thread, {ROUNDS} rounds\n")
    head = f"{'CPU time':<46}{'multivae':>10}  {'':<10}{'ours':>10}"
    print(head + f"{'their / our: median (min to max)':>34}{'peak MiB':>13}")
    for task in TASKS:
        units = samples * k if task.startswith("log") else COHERENCE_SAMPLES
        rounds, mib = alternate(partial(make, config, samples, k, task), SIDES, ROUNDS)
        ms = {s: f"{1e3 * statistics.median(each[s] for each in rounds) / units:.2f} ms" for s in SIDES}
        for side in SIDES[1:]:
            ratios = spread([each["multivae"] / each[side] for each in rounds])
            peaks = f"{mib[side]:.0f} / {mib['multivae']:.0f}"
            print(
                f"{task:<46}{ms['multivae']:>10}  {side:<10}{ms[side]:>10}{ratios:>34}{peaks:>13}", flush=True
            )
    print()


def main() -> None:
    """Print the tables."""
    print(header("multivae"))
    for config, samples, k in SIZES:
        measure(config, samples, k)


if __name__ == "__main__":
    main()
