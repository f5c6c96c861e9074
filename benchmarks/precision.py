"""What training in bfloat16 changes: coherence and log-likelihood of trained models, and the time.

Run: python benchmarks/precision.py [seeds]        (a minute a seed on one core; 4 seeds by default)

The middle of the demo's search space is trained in full, in float32 and in bfloat16 from the same weights,
order and noise, and both are measured in float32 with the same noise: differences are taken seed by seed.
"""

import statistics
import sys
import time
from dataclasses import replace

import torch
from common import header

import mopoe
from mopoe.runtime import keep_freed_memory
from sweep.config.sweep_spec import load_spec, trial_config_for

OBJECTIVES = ("conditional_coherence", "joint_coherence", "log_likelihood")


def main() -> None:
    """Print a row per seed, and the mean differences."""
    torch.set_num_threads(1)
    keep_freed_memory()
    spec = load_spec("digits")
    data = mopoe.load_data("digits", seed=0)
    judges, middle = mopoe.load_classifiers(data), trial_config_for(spec, [])
    rows: list[dict[str, float]] = []
    print(header())
    print(f"1 thread; bfloat16 less float32, {middle.epochs} epochs")
    print(f"{'seed':>4}" + "".join(f"{name:>24}" for name in (*OBJECTIVES, "float32 / bfloat16 CPU")))
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 4):
        found = []
        for precision in ("float32", "bfloat16"):
            began = time.process_time()
            config = replace(middle, seed=seed, precision=precision)
            model = mopoe.train(config, data, lambda _: None)
            seconds = time.process_time() - began
            evaluator = mopoe.Evaluator(
                data, judges, replace(spec.evaluation, pictures=0, final_metrics=()), epochs=1
            )
            found.append((evaluator.measure(model, "objectives").objectives, seconds))
        (full, slow), (half, quick) = found
        rows.append({name: half[name] - full[name] for name in OBJECTIVES} | {"time": slow / quick})
        print(f"{seed:>4}" + "".join(f"{full[n]:>14.4f}{rows[-1][n]:>+10.4f}" for n in OBJECTIVES), end="")
        print(f"{rows[-1]['time']:>24.2f}", flush=True)
    for name in OBJECTIVES if len(rows) > 1 else ():
        values = [row[name] for row in rows]
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{name}: {statistics.mean(values):+.4f} (standard error over seeds {error:.4f})")


if __name__ == "__main__":
    main()
