"""Provider `local`: machines one has, reached by ssh, with one shared folder."""

import time
from concurrent.futures import ThreadPoolExecutor

from cluster.checks import a_stranger_is_refused, all_trials_ended, nodes_from_inside, secrets_are_kept
from cluster.laptop import IMAGE, SEEN, SWEEP
from cluster.rack import SHARED, Rack, until
from sweep.store.read import open_store

HEAD, WORKERS, STRANGER = "10.77.0.10", ["10.77.0.11", "10.77.0.12"], "10.77.0.66"
RESULTS = SHARED / "results" / "rack"


def test_a_sweep_outlives_every_loss(laptop):
    """A worker loses power, a cable is out, the head loses power: every trial still completes, once."""
    with Rack(SHARED.parent / "rack", "10.77.0.1/24", SEEN, IMAGE) as rack, ThreadPoolExecutor() as pool:
        for address in (HEAD, *WORKERS, STRANGER):
            rack.on(address)
        laptop.say("four machines")
        file = laptop.cluster_file(
            "cluster-local.yaml",
            provider__head_ip=HEAD,
            provider__worker_ips=WORKERS,
            auth__ssh_user="root",
            auth__ssh_private_key=str(rack.key),
        )
        up = ("ray", "up", "-y", "--no-config-cache", file)
        sweep = ("ray", "exec", file, f"cd ~/mopoe-sweep && sweep run {SWEEP} --address auto --out {RESULTS}")
        laptop.run(*up, limit=180)
        nodes_from_inside(rack, HEAD, 3)
        laptop.say("3 nodes")

        running = laptop.begin(*sweep)
        refused = pool.submit(a_stranger_is_refused, rack, HEAD, STRANGER)
        checkpoints = RESULTS / "checkpoints"
        until("two trials' first checkpoints", 180, lambda: len(list(checkpoints.glob("*.safetensors"))) == 2)
        refused.result()
        for address in (HEAD, *WORKERS):
            secrets_are_kept(rack, address)
        laptop.say("strangers are refused, secrets kept")
        rack.off(WORKERS[0])
        rack.on(WORKERS[0])
        laptop.say("a worker power-cycled in mid sweep")
        until("a completed trial", 180, lambda: completed() >= 1)
        nodes_from_inside(rack, HEAD, 3)
        laptop.say("3 nodes")
        rack.cut(WORKERS[1])
        nodes_from_inside(rack, HEAD, 2)
        rack.mend(WORKERS[1])
        laptop.say("a cable out until its node was given up, and mended")
        until("3 completed trials", 180, lambda: completed() >= 3)
        rack.off(HEAD)
        rack.on(HEAD)
        laptop.say("the head power-cycled in mid sweep")
        running.process.kill()
        running.process.wait()
        assert completed() < 6
        laptop.run(*up, limit=180)
        nodes_from_inside(rack, HEAD, 3)
        laptop.run(*sweep, limit=300)
        all_trials_ended(RESULTS, 6)
        assert "is sound" in laptop.run("sweep", "verify", RESULTS)
        laptop.run("ray", "down", "-y", file, limit=120)


def completed() -> int:
    """Return how many trials have completed."""
    return open_store(RESULTS).latest_trials().filter(status="completed").collect().height
