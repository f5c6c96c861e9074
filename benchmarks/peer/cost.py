"""CPU time and memory of evaluation: this project against multivae 1.0.3, on the same weights and samples.

Run: make compare-cost      (this part: four minutes on one core; prints a table and what it was measured on)

The paper's model (M=5, Z=512) in float32, one thread; ours also with decoders and classifiers in bfloat16.
Each side has a process of its own, they take turns, and ratios are taken round by round. multivae's coherence
is measured as its documentation has it, over the 75 (subset, target) pairs whose target is not in the subset,
and with the targets that are, which makes 150; ours over the same 75, and over all 155.
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
LIKELIHOOD_SAMPLES, K, COHERENCE_SAMPLES = 4, 310, 64
SIDES = ("multivae", "ours", "ours, bf16")
TASKS = {
    "log-likelihood, per importance sample": LIKELIHOOD_SAMPLES * K,
    "coherence per test sample, 75 and 75 pairs": COHERENCE_SAMPLES,
    "coherence per test sample, 155 and 150 pairs": COHERENCE_SAMPLES,
}
"""What is timed, and in how many units."""


def make(task: str, side: str) -> Callable[[], object]:
    """Return one side's work of a task."""
    specs = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
    ours = mopoe.build_model(mopoe.TrialConfig(initialisation="he", initial_logvar=-3), specs).eval()
    torch.manual_seed(0)
    x = {m.name: torch.rand(COHERENCE_SAMPLES, *m.shape) for m in specs}
    labels = torch.arange(COHERENCE_SAMPLES) % 10
    networks = {m.name: ImageClassifier(3, 10).eval() for m in specs}
    own_targets = "155" in task

    def work() -> object:
        if task.startswith("log-likelihood"):
            return joint_log_likelihood(ours, split, LIKELIHOOD_SAMPLES, K, 0)
        return conditional_coherence(ours, split, classifiers, COHERENCE_SAMPLES, 0, own_targets=own_targets)

    if side != "multivae":
        classifiers = mopoe.Classifiers(networks=networks, accuracy={}, hash="")
        split = mopoe.Split(x, labels)

        def precisely() -> object:
            with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in side):
                return work()

        return precisely
    from bridge import dataset, peer
    from multivae.metrics import CoherenceEvaluator, CoherenceEvaluatorConfig

    theirs = peer("MoPoE", ours).eval()

    def their_work() -> object:
        with torch.no_grad():
            if task.startswith("log-likelihood"):
                few = dataset({name: a[:LIKELIHOOD_SAMPLES] for name, a in x.items()})
                return theirs.compute_joint_nll(few, K)
            config = CoherenceEvaluatorConfig(num_classes=10, include_recon=own_targets)
            return CoherenceEvaluator(
                theirs, networks, dataset(x, labels), eval_config=config
            ).cross_coherences()

    return their_work


def main() -> None:
    """Print the table."""
    print(header("multivae"))
    samples = f"{LIKELIHOOD_SAMPLES} samples with K={K}; {COHERENCE_SAMPLES} samples for coherence"
    print(f"{samples}; 1 thread, {ROUNDS} rounds\n")
    head = f"{'CPU time':<46}{'multivae':>10}  {'':<10}{'ours':>10}"
    print(head + f"{'their / our: median (min to max)':>34}{'peak MiB':>13}")
    for task, units in TASKS.items():
        rounds, mib = alternate(partial(make, task), SIDES, ROUNDS)
        ms = {s: f"{1e3 * statistics.median(each[s] for each in rounds) / units:.2f} ms" for s in SIDES}
        for side in SIDES[1:]:
            ratios = spread([each["multivae"] / each[side] for each in rounds])
            peaks = f"{mib[side]:.0f} / {mib['multivae']:.0f}"
            print(
                f"{task:<46}{ms['multivae']:>10}  {side:<10}{ms[side]:>10}{ratios:>34}{peaks:>13}", flush=True
            )


if __name__ == "__main__":
    main()
