"""Reading runs no code: what a results folder names is neither imported nor called by who looks at it."""

import json
import sys
from dataclasses import replace

import pytest
from s3_server import S3_KEYS

from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter

COMMANDS = {
    "status": ["status", "{dir}"],
    "watch": ["watch", "{dir}", "--out", "{tmp}/watched"],
    "report": ["report", "{dir}"],
    "compare": ["report", "{dir}", "{other}", "--out", "{tmp}/page"],
    "best": ["best", "{dir}"],
    "verify": ["verify", "{dir}"],
    "csv": ["export", "{dir}", "--csv", "{tmp}/csv"],
    "merge": ["merge", "{dir}", "{other}", "--out", "{tmp}/merged"],
    "compact": ["compact", "{dir}"],
}


def named(root, data):
    """Let a results folder say that its data set is another."""
    found = Store(root).manifest
    manifest = replace(found, data=data["name"], spec={**found.spec, "data": data, "trials": 2})
    StoreWriter(root).write_manifest(manifest)
    return root


@pytest.fixture
def folders(tmp_path, make_sweep):
    """Two runs of one sweep that are complete."""
    made = [make_sweep(tmp_path / name, name, first) for name, first in (("a", 0), ("b", 4))]
    for root in made:
        for path in root.rglob("t000[2367]-*.parquet"):
            path.unlink()
    return made


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_a_folder_names_is_not_imported(sweep, folders, tmp_path, monkeypatch, command):
    """All that reading needs stands in the folder: the module may be on another machine, or do harm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "writes_on_import.py").write_text("open('ran', 'w').close()\ndef load(): ...\n")
    for root in folders:
        named(root, {"name": "writes_on_import:load", "path": "x"})
    places = {"dir": folders[0], "other": folders[1], "tmp": tmp_path}
    status, out, err = sweep(*(word.format(**places) for word in command))
    assert (status, err) == (0, ""), out
    assert not (tmp_path / "ran").exists()
    assert "writes_on_import" not in sys.modules


@pytest.mark.parametrize("name", ["os:system", "subprocess:getoutput", "posix:system"])
def test_what_a_folder_names_is_not_called(sweep, folders, tmp_path, name):
    """A function of a module that is imported already."""
    named(folders[0], {"name": name, "command": f"touch {tmp_path}/ran", "cmd": f"touch {tmp_path}/ran"})
    for command in ("status", "verify", "best"):
        assert sweep(command, folders[0])[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", [["resume", "{dir}"], ["extend", "{dir}", "--trials", "1"]])
def test_a_folder_cannot_name_what_a_run_calls(sweep, folders, tmp_path, command):
    """Going on with a colleague's sweep runs its data set: but a marked function and no command."""
    named(folders[0], {"name": "os:system", "command": f"touch {tmp_path}/ran"})
    status, _, err = sweep(*(word.format(dir=folders[0]) for word in command))
    assert status == 2
    assert err.startswith(
        f"sweep: {folders[0]}/sweep.json: data: data set 'os:system' is not marked as a plugin"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["show-config", "run", "trial"])
def test_a_file_cannot_name_a_command(sweep, tmp_path, quick_sweep, command):
    """Also one that is only looked at."""
    text = quick_sweep.replace(
        quick_sweep.splitlines()[1], f"data: {{name: 'os:system', command: 'touch {tmp_path}/ran'}}"
    )
    (tmp_path / "x.yaml").write_text(text)
    status, _, err = sweep(command, tmp_path / "x.yaml")
    assert status == 2
    assert "data set 'os:system' is not marked as a plugin, so it is not called" in err
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_cannot_name_what_samples_calls(sweep, folders, tmp_path, make_checkpoint):
    """Its metadata name the data set that the pictures are drawn of."""
    import torch
    from safetensors.torch import save_file

    from mopoe.config import TrialConfig

    progress = {"format": 1, "config": TrialConfig(epochs=2).to_dict(), "data": "os:system"}
    progress |= {"data_options": {"command": f"touch {tmp_path}/ran"}, "epoch": 2, "step": 8, "examples": 9}
    (folders[0] / "checkpoints").mkdir()
    path = folders[0] / "checkpoints" / "t0000.safetensors"
    save_file({"model/a": torch.zeros(1)}, path, {"progress": json.dumps(progress)})
    status, _, err = sweep("samples", folders[0])
    assert status == 2
    assert "'os:system' is not marked as a plugin" in err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"classifier_hash": "../../x"},
        {"classifier_hash": "a/b"},
        {"data_fingerprint": "/etc/passwd"},
        {"sweep_id": "../x"},
        {"spec_hash": ""},
    ],
    ids=str,
)
def test_what_becomes_a_path_has_a_pattern(sweep, folders, tmp_path, changes):
    """A hash from a file that others wrote leads nowhere: no folder, no lock is made of it."""
    path = folders[0] / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    before = sorted(tmp_path.rglob("*"))
    for command in (["status"], ["verify"], ["resume"], ["samples"]):
        status, _, err = sweep(*command, folders[0])
        assert status == 2
        assert err.startswith(f"sweep: {path} is damaged: {next(iter(changes))}: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_trials_name_leads_nowhere(folders, make_record):
    """What stands in a table and becomes a path is refused where it leads out of the folder."""
    from sweep.errors import StoreError

    store = open_store(folders[0])
    for name in ("../x", "checkpoints/../../x", "/etc/passwd"):
        with pytest.raises(StoreError, match=r"is outside .*, so it is not accessed"):
            store.files.delete(name)
        with pytest.raises(StoreError, match=r"is outside .*, so it is not accessed"):
            store.files.open(name)


def test_secrets_of_an_address_are_printed_nowhere(sweep, s3_server, s3, make_sweep, monkeypatch):
    """Neither in what is said of it nor in a command that goes on with it, nor where it cannot be opened."""
    host = s3_server.removeprefix("http://")
    address = s3.replace("s3://", "s3://AKIA:wJalrSECRET@") + f"?scheme=http&endpoint_override={host}"
    for name in S3_KEYS:
        monkeypatch.delenv(name)
    make_sweep(address)
    for command in (["status"], ["verify"], ["compact"], ["best"]):
        status, out, err = sweep(*command, address)
        assert (status, err) == (0, "")
        assert "SECRET" not in out
    status, out, err = sweep("status", f"{address}&bogus=1")
    assert status == 2
    assert "***@" in err
    assert "SECRET" not in out + err


@pytest.mark.slow
def test_secrets_of_a_server_that_is_away_are_not_printed(sweep):
    """After the seconds for which Arrow asks again."""
    status, out, err = sweep("status", "s3://AKIA:wJalrSECRET@b/x?scheme=http&endpoint_override=127.0.0.1:1")
    assert status == 2
    assert "***@" in err
    assert "SECRET" not in out + err
