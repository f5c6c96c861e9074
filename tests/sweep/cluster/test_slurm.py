"""Job scripts for Slurm: the script line by line, refusals, and Slurm's commands by stand-ins."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from mopoe.errors import ConfigError
from sweep.cluster.slurm import SlurmJob, cancel, check_job, job_script, jobs_of, submit, warn
from sweep.config.sweep_spec import load_spec
from sweep.errors import ClusterError

JOB = SlurmJob(
    file=Path("/home/ann/my sweep.yaml"),
    out=Path("/shared/ann/digits"),
    name="digits",
    nodes=4,
    cpus=16,
    gpus=2,
    time="12:00:00",
    partition="gpu",
    account="lab",
    setup=("module load cuda",),
    options=("--override", "trials=30"),
    requeues=3,
)
GOLDEN = """\
#!/bin/bash
# The sweep digits as a Slurm job. `sweep slurm` wrote it; it runs by: sbatch THIS_FILE
#SBATCH --job-name=digits-ac1b22b0
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=12:00:00
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --signal=B:USR2@120
#SBATCH --open-mode=append
#SBATCH --output=/shared/ann/digits.slurm-%j.log
#SBATCH --requeue
module load cuda
(($? == 0)) || { echo "sweep: $(hostname) cannot run the set-up command" 'module load cuda' >&2; exit 2; }
file='/home/ann/my sweep.yaml'
out=/shared/ann/digits
bin=/opt/venv/bin
gpus=2
most_requeues=3
options=(--override trials=30)
"""


def test_the_script_is_what_an_administrator_reads(monkeypatch):
    """What is asked of Slurm, then the job's own values, then what is the same for all; bash can parse it."""
    monkeypatch.setattr(sys, "executable", "/opt/venv/bin/python")
    script = job_script(JOB)
    assert script == GOLDEN + files("sweep.cluster").joinpath("slurm.sh").read_text(encoding="utf-8")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_what_is_not_asked_for_is_not_in_it():
    """Without GPUs, partition and account Slurm's defaults hold."""
    script = job_script(replace(JOB, gpus=0, partition=None, account=None))
    for word in ("--gpus-per-node=", "--partition", "--account"):
        assert f"#SBATCH {word}" not in script


def test_a_node_that_lacks_a_module_ends_the_job(tmp_path):
    """In one sentence, before anything is started there; what succeeds goes on to the next line."""
    began = tmp_path / "began"
    job = replace(
        JOB, setup=("true # nothing", "module() { return 1; }", "module load 'R'", f"touch {began}")
    )
    ran = subprocess.run(["bash"], input=job_script(job), text=True, capture_output=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == f"sweep: {socket.gethostname()} cannot run the set-up command module load 'R'\n"
    assert not began.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cpus": 1}, "resources.cpu is 4 for each trial, but --cpus-per-node is 1; raise it"),
        ({"gpus": 0}, "resources.gpu is 0.5 for each trial, but --gpus-per-node is 0; raise it"),
        ({"time": "soon"}, "--time is 'soon', but must be as Slurm takes it: minutes, HH:MM:SS or DAYS-HH"),
        (
            {"partition": "a b"},
            "--partition is 'a b', but a job script takes no blanks or special characters in it",
        ),
        (
            {"out": Path("/shared/a;b")},
            "--out is '/shared/a;b', but a job script takes no blanks or special characters in it",
        ),
    ],
)
def test_what_cannot_run_is_refused(changes, sentence):
    """One sentence, before anything is submitted."""
    spec = load_spec("digits", ["resources.cpu=4", "resources.gpu=0.5"])
    check_job(JOB, spec)
    with pytest.raises(ConfigError) as error:
        check_job(replace(JOB, **changes), spec)
    assert str(error.value) == sentence


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Give a function that puts a command of that name and text in front of all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    return put


def test_a_job_is_submitted_by_its_script(stand_in, tmp_path):
    """It goes to standard input, and sbatch says the job and perhaps the cluster."""
    stand_in("sbatch", f"cat > {tmp_path}/script; echo '17;main'")
    assert submit("#!/bin/bash\n") == "17"
    assert (tmp_path / "script").read_text() == "#!/bin/bash\n"


def test_what_slurm_refuses_is_told(stand_in):
    """Its reason in one line."""
    stand_in("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(ClusterError, match=r"^Slurm refuses: invalid partition$"):
        submit("")


@pytest.mark.parametrize("there", ["", "a"])
def test_nothing_is_left_of_what_slurm_refuses(sweep, stand_in, tmp_path, there):
    """The folder of the log is made before the job may begin; of a refused one what was made goes again."""
    (tmp_path / "runs" / there).mkdir(parents=True)
    stand_in("sbatch", f"ls -d {tmp_path}/runs/a/b >&2; exit 1")
    status, _, err = sweep("slurm", "digits", "--out", tmp_path / "runs/a/b/results", "--submit")
    assert (status, err) == (2, f"sweep: Slurm refuses: {tmp_path}/runs/a/b\n")
    assert [path.name for path in (tmp_path / "runs").rglob("*")] == ([there] if there else [])


def test_without_slurm_it_is_said_where_to_go(monkeypatch):
    """Not a traceback."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match="there is no sbatch on this machine"):
        submit("")


def test_the_job_of_a_results_folder_is_found_by_its_name(stand_in, tmp_path, monkeypatch):
    """Other sweeps and other folders are left alone; to stop and to rehearse are signals to that job."""
    stand_in("squeue", f"echo '7 {JOB.job_name}'; echo '8 digits-00000000'")
    stand_in("scancel", f'echo "$@" >> {tmp_path}/said')
    assert jobs_of(JOB.out) == ["7"]
    with pytest.raises(ClusterError, match="no Slurm job of yours writes to /shared/ann/other"):
        jobs_of(Path("/shared/ann/other"))
    cancel("7")
    warn("7")
    assert (tmp_path / "said").read_text() == "7\n--signal=USR2 --batch 7\n"


def test_the_command_prints_submits_rehearses_and_stops(sweep, stand_in, tmp_path):
    """One job from its file to its end, found again by the results folder alone."""
    out = tmp_path / "results"
    words = ("slurm", "digits", "--out", out, "--nodes", 2)
    status, script, err = sweep(*words)
    assert (status, err) == (0, "")
    assert "#SBATCH --nodes=2\n" in script
    assert f"out={out}\n" in script
    name = script.partition("--job-name=")[2].partition("\n")[0]
    stand_in("sbatch", f"cat > {tmp_path}/sent; echo 17")
    stand_in("squeue", f"echo '17 {name}'")
    stand_in("scancel", f'echo "$@" >> {tmp_path}/said')
    assert sweep(*words, "--submit")[1].startswith("job 17\nnext: sweep watch ")
    assert (tmp_path / "sent").read_text() == script
    assert "job 17 was sent USR2" in sweep(*words, "--rehearse")[1]
    assert sweep("stop", out)[1] == "Slurm job 17 is cancelled\n"
    assert (tmp_path / "said").read_text() == "--signal=USR2 --batch 17\n17\n"
