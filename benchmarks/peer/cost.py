"""CPU time and memory of evaluation: this project against multivae 1.0.3, on the same weights and samples.

Run: make compare-cost      (four minutes on one core; prints a table and what it was measured on)

The paper's model (M=5, Z=512) in float32, one thread; ours also with decoders and classifiers in bfloat16.
The sides take turns in one process and the ratio is taken round by round; peak memory is that of a process of
its own. Of (subset, target) pairs ours generates and classifies all 155; multivae by its default the 75 whose
target is not in the subset, on request 150.
"""

import logging
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from bridge import dataset, peer
from multivae.metrics import CoherenceEvaluator, CoherenceEvaluatorConfig

import mopoe
from mopoe.data.registry import ModalitySpec
from mopoe.evaluation.classifiers import ImageClassifier
from mopoe.evaluation.coherence import conditional_coherence
from mopoe.evaluation.log_likelihood import joint_log_likelihood

CPU = torch.device("cpu")
ROUNDS = 5
LIKELIHOOD_SAMPLES, K, COHERENCE_SAMPLES = 4, 310, 64


def both(ours: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """Return our side in both precisions."""

    def half() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return ours()

    return {"ours": ours, "ours, bf16": half}


def tasks() -> dict[str, tuple[int, dict[str, Callable[[], object]]]]:
    """Return what is timed: by task its number of units, and by side a function."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    specs = tuple(ModalitySpec(name=f"m{m}", shape=(3, 28, 28)) for m in range(5))
    ours = mopoe.build_model(mopoe.TrialConfig(initialisation="he", initial_logvar=-3), specs).eval()
    theirs = peer("MoPoE", ours).eval()
    torch.manual_seed(0)
    x = {m.name: torch.rand(COHERENCE_SAMPLES, *m.shape) for m in specs}
    labels = torch.arange(COHERENCE_SAMPLES) % 10
    networks = {m.name: ImageClassifier(3, 10).eval() for m in specs}
    classifiers = mopoe.Classifiers(networks=networks, accuracy={}, hash="")
    few, split = {name: a[:LIKELIHOOD_SAMPLES] for name, a in x.items()}, mopoe.Split(x, labels)

    def coherence(*, include_recon: bool) -> tuple[int, dict[str, Callable[[], object]]]:
        config = CoherenceEvaluatorConfig(num_classes=10, include_recon=include_recon)
        return COHERENCE_SAMPLES, {
            **both(lambda: conditional_coherence(ours, split, classifiers, COHERENCE_SAMPLES, 0, CPU)),
            "multivae": CoherenceEvaluator(
                theirs, networks, dataset(x, labels), eval_config=config
            ).cross_coherences,
        }

    return {
        "log-likelihood, per importance sample": (
            LIKELIHOOD_SAMPLES * K,
            {
                **both(lambda: joint_log_likelihood(ours, split, LIKELIHOOD_SAMPLES, K, 0, CPU)),
                "multivae": lambda: theirs.compute_joint_nll(dataset(few), K),
            },
        ),
        "coherence per test sample, 155 and 75 pairs": coherence(include_recon=False),
        "coherence per test sample, 155 and 150 pairs": coherence(include_recon=True),
    }


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, those of the system included."""
    began = time.process_time()
    with torch.no_grad():
        function()
    return time.process_time() - began


def peak_mib(task: str, side: str) -> float:
    """Return the peak memory of a process that does one task, in MiB."""
    command = [sys.executable, __file__, task, side]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[-1])


def main() -> None:
    """Print the table, or the peak memory of the task and side that are named."""
    todo = tasks()
    if len(sys.argv) == 3:
        cpu_seconds(todo[sys.argv[1]][1][sys.argv[2]])
        # Of this process alone; getrusage would start at what its parent held.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        return
    machine = platform.processor() or platform.machine()
    print(f"multivae {version('multivae')}, torch {torch.__version__}, {machine}, 1 thread, {ROUNDS} rounds")
    print(f"{LIKELIHOOD_SAMPLES} samples with K={K}; {COHERENCE_SAMPLES} samples for coherence\n")
    header = f"{'CPU time':<46}{'multivae':>10}  {'':<10}{'ours':>10}"
    print(header + f"{'their / our: median (min to max)':>34}{'peak MiB':>13}")
    for task, (units, sides) in todo.items():
        rounds = [{side: cpu_seconds(run) for side, run in sides.items()} for _ in range(ROUNDS + 1)][1:]
        memory = {side: peak_mib(task, side) for side in sides}

        ms = {s: f"{1e3 * statistics.median(each[s] for each in rounds) / units:.2f} ms" for s in sides}
        for side in list(sides)[:-1]:
            ratios = [each["multivae"] / each[side] for each in rounds]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            both_peaks = f"{memory[side]:.0f} / {memory['multivae']:.0f}"
            print(f"{task:<46}{ms['multivae']:>10}  {side:<10}{ms[side]:>10}{spread:>34}{both_peaks:>13}")


if __name__ == "__main__":
    main()
