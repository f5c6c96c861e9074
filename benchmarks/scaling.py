"""Trials per second on 1, 2, 4 and 8 nodes: of trivial trials, which cost nothing, and of real ones.

Run: python benchmarks/scaling.py      (make bench; minutes)

The nodes are Ray's own, on this machine, each with one CPU to give and a raylet of its own; the head gives
none. Trivial trials report made-up objectives and end, so that what is measured is the driver: sampler, Ray
Tune, records and files. Real ones are small trainings on `digits`, one thread each. The rate is that of the
trials that end after every node has ended its first: neither the start of processes nor imports count.
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import header

NODES = (1, 2, 4, 8)
TRIALS = {"trivial": lambda n: 50 + 10 * n, "real": lambda n: 3 + 2 * n}
SWEEP = """
name: scaling
data: {name: digits}
trials: 1
sampler: random
reference_point: {conditional_coherence: 0, log_likelihood: -9000}
search_space: {beta: {type: uniform, low: 0.1, high: 1}}
fixed: {epochs: 1, batch_size: 128, latent_dim: 16, channels: [4, 8, 8]}
evaluation:
  {coherence_samples: 20, joint_samples: 20, likelihood_samples: 2, importance_samples: 31, pictures: 0}
resources: {cpu: 1}
keep: none
"""


def trivial(suggested: dict[str, Any]) -> None:
    """Report a trial's only epoch at once."""
    from ray import tune

    drawn = random.Random(suggested["trial_id"])
    found = {"conditional_coherence": drawn.random(), "log_likelihood": -drawn.uniform(6000, 8000)}
    tune.report({"epoch": 1, "objectives": found, "device": "none"})


def measure(n: int) -> None:
    """Print how many trials of each kind a second end on so many nodes."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small}
    )
    for _ in range(n):
        cluster.add_node(num_cpus=1, **small)
    try:
        print(*(rate(kind, n, cluster.address) for kind in TRIALS))
    finally:
        cluster.shutdown()


def rate(kind: str, n: int, address: str) -> float:
    """Return how many trials a second end on a cluster of so many nodes."""
    from sweep.config.sweep_spec import load_spec
    from sweep.running import driver
    from sweep.running.trainable import make_trainable

    driver.make_trainable = make_trainable if kind == "real" else lambda _: trivial
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scaling.yaml")
        file.write_text(SWEEP)
        spec = load_spec(str(file), [f"trials={TRIALS[kind](n)}"])
        store = driver.run_sweep(spec, Path(folder, "r"), address=address, say=str)
        trials = store.latest_trials().sort("ended_at").collect()
    assert trials["status"].to_list() == ["completed"] * spec.trials
    # With one place a node: every node has ended its first when the first n to start have ended.
    warm = trials.sort("started_at").head(n)["ended_at"].max()
    after = trials.filter(trials["ended_at"] > warm)
    return after.height / (after["ended_at"].max() - warm).total_seconds()


def main() -> None:
    """Print the table."""
    print(header("ray", "optuna"))
    print("trials per second, and how often that of one node")
    print(f"{'nodes':>5}" + "".join(f"{kind:>16}" for kind in TRIALS))
    first: list[float] = []
    for n in NODES:
        done = subprocess.run(
            [sys.executable, __file__, str(n)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        )
        found = [float(word) for word in done.stdout.splitlines()[-1].split()]
        first = found if n == NODES[0] else first
        columns = (f"{rate:>9.2f} ({rate / one:3.1f})" for rate, one in zip(found, first, strict=True))
        print(f"{n:>5}" + "".join(columns), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        main()
