"""The wheel holds every file of the packages, and its commands run where there is no source tree."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("mopoe", "sweep", "search_spaces")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the working tree and return the folder that it is unpacked in."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def python(unpacked: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs Python with the wheel, outside the tree, and gives what it prints."""
    # Without the site module nobody reads the .pth file that makes the source tree importable.
    folders = dict.fromkeys([str(unpacked), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    env = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}

    def run(*words: str) -> str:
        command = [sys.executable, "-S", *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_every_file_of_the_packages(unpacked: Path) -> None:
    """The shipped YAML files, the page's style and scripts and the marks of typed packages among them."""

    def files(root: Path) -> set[str]:
        paths = (path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file())
        return {str(path.relative_to(root)) for path in paths if "__pycache__" not in path.parts}

    assert files(unpacked) == files(ROOT)
    assert {Path(name).suffix for name in files(unpacked)} >= {".py", ".c", ".yaml", ".css", ".js", ".typed"}


def test_the_wheel_installs_the_command_and_the_licence(unpacked: Path) -> None:
    """As its metadata say."""
    (info,) = unpacked.glob("*.dist-info")
    points = ConfigParser()
    points.read(info / "entry_points.txt")
    assert dict(points["console_scripts"]) == {"sweep": "sweep.cli:main"}
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_packages_come_from_the_wheel(python: Callable[..., str], unpacked: Path) -> None:
    """The other tests of this module would otherwise say nothing."""
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)})"
    assert [Path(p).parent.parent for p in python("-c", code).split()] == [unpacked] * len(PACKAGES)


def test_a_shipped_sweep_is_found_by_name(python: Callable[..., str]) -> None:
    """The YAML file lies beside its loader, wherever that is installed."""
    shown = yaml.safe_load(python("-m", "sweep", "show-config", "digits"))
    assert (shown["name"], shown["trials"]) == ("digits", 12)


def test_data_sets_are_listed(python: Callable[..., str]) -> None:
    """Each with a line of its own."""
    names = {line.split()[0] for line in python("-m", "sweep", "data", "list").splitlines()}
    assert {"digits", "polymnist", "celeba"} <= names


def test_a_report_is_written(python: Callable[..., str], tmp_path: Path) -> None:
    """Of a stored sweep; the page has its style and its scripts."""
    shutil.copytree(ROOT / "tests" / "sweep" / "store" / "v1", tmp_path / "results")
    assert "hypervolume" in python("-m", "sweep", "report", "results")
    page = (tmp_path / "results" / "report" / "report.html").read_text(encoding="utf-8")
    for name in ("style.css", "details.js"):
        assert (ROOT / "sweep" / "report" / name).read_text(encoding="utf-8").strip() in page
