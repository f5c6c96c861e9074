"""The cache folder, and files that appear whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mopoe.cache import cache_dir, cached_file


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$MOPOE_CACHE wins; without it, ~/.cache/mopoe."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("MOPOE_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_dir() == Path("/home/someone/.cache/mopoe")


def test_a_file_is_built_once(tmp_path: Path) -> None:
    """The second call finds it and does not build."""
    calls: list[Path] = []

    def build(path: Path) -> None:
        calls.append(path)
        path.write_text("built")

    path = tmp_path / "deep" / "x.bin"
    assert cached_file(path, build) == cached_file(path, build) == path
    assert path.read_text() == "built"
    assert len(calls) == 1
    assert calls[0] != path
    assert calls[0].parent == path.parent


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """Half a file never gets the name, and the next call builds anew."""

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    path = tmp_path / "x.bin"
    with pytest.raises(OSError, match="disk full"):
        cached_file(path, fail)
    assert {p.name for p in tmp_path.iterdir()} <= {"x.lock"}
    cached_file(path, lambda p: p.write_text("whole"))
    assert path.read_text() == "whole"


BUILDER = """
import os, sys, time
from pathlib import Path
from mopoe.cache import cached_file
def build(path):
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(1)
    path.write_text(str(os.getpid()))
Path(f"{sys.argv[2]}.{os.getpid()}").touch()
while len(list(Path(sys.argv[2]).parent.glob("log.*"))) < 2:
    time.sleep(0.01)
print(cached_file(Path(sys.argv[1]), build).read_text())
"""


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_what_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    """A cached file has the permissions of any new file, although its writer makes it private."""
    before = os.umask(umask)
    try:
        path = cached_file(tmp_path / "x", lambda path: save_file({"a": torch.zeros(1)}, path))
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_two_processes_build_a_file_once(tmp_path: Path) -> None:
    """Both wait for each other's start, one builds, both read the same file."""
    path, log = tmp_path / "cache" / "x.bin", tmp_path / "log"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(path), str(log)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = {p.communicate(timeout=60)[0].strip() for p in both}
    assert [p.returncode for p in both] == [0, 0]
    assert answers == {log.read_text().strip()}
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.bin", "x.lock"]
