"""Provider `local`: machines one has, reached by ssh, with one shared folder."""

import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cluster.checks import (
    a_stranger_is_refused,
    all_trials_completed,
    completed,
    nodes_from_inside,
    secrets_are_kept,
)
from cluster.laptop import IMAGE, SEEN, SWEEP
from cluster.rack import SHARED, Rack, until

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
            metadata__results=str(RESULTS.parent),
            provider__head_ip=HEAD,
            provider__worker_ips=WORKERS,
            auth__ssh_user="root",
            auth__ssh_private_key=str(rack.key),
        )
        up = ("ray", "up", "-y", "--no-config-cache", file)
        laptop.run(*up)
        nodes_from_inside(rack, HEAD, 3)
        laptop.say("3 nodes")

        refused = pool.submit(a_stranger_is_refused, rack, HEAD, STRANGER)
        apart = laptop.begin("sweep", "run", SWEEP, "--cluster", file, "--out", "/root/apart")
        assert "no problem found on 3 machines" in laptop.run("sweep", "doctor", SWEEP, "--cluster", file)
        assert "choose a folder that all machines share" in apart.end(status=2)
        refused.result()
        laptop.say("a folder that is not shared is refused, and so is a stranger")

        following = laptop.begin("sweep", "run", SWEEP, "--cluster", file)
        checkpoints = RESULTS / "checkpoints"
        until("two trials' first checkpoints", lambda: len(list(checkpoints.glob("*.safetensors"))) >= 2)
        rack.off(WORKERS[0])
        rack.on(WORKERS[0])
        laptop.say("a worker power-cycled in mid sweep")
        following.process.send_signal(signal.SIGINT)
        assert "sweep attach" in following.end(status=130)
        following = laptop.begin("sweep", "attach", "--cluster", file)
        until("a completed trial", lambda: completed(RESULTS) >= 1)
        nodes_from_inside(rack, HEAD, 3)
        list(pool.map(partial(secrets_are_kept, rack), (HEAD, *WORKERS)))
        laptop.say("3 nodes, the token private and ports as known")
        rack.cut(WORKERS[1])
        nodes_from_inside(rack, HEAD, 2)
        rack.mend(WORKERS[1])
        laptop.say("a cable out until its node was given up, and mended")
        until("2 completed trials", lambda: completed(RESULTS) >= 2)
        rack.off(HEAD)
        rack.on(HEAD)
        assert completed(RESULTS) < 6
        laptop.say("the head power-cycled in mid sweep")
        following.process.kill()
        following.end(status=None)
        laptop.run(*up)
        nodes_from_inside(rack, HEAD, 3)
        assert "6 completed" in laptop.run("sweep", "resume", RESULTS, "--cluster", file)
        all_trials_completed(RESULTS, 6)
        fetched = laptop.home / "fetched"
        laptop.run("sweep", "fetch", RESULTS, fetched, "--cluster", file)
        assert "is sound" in laptop.run("sweep", "verify", fetched)
        all_trials_completed(fetched, 6)
        laptop.run("ray", "down", "-y", file)
