"""Makes the manifest of a results folder, and decides whether a folder may be written to."""

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from sweep.errors import StoreError
from sweep.spec import SweepSpec
from sweep.store.read import MANIFEST, read_manifest
from sweep.store.records import Manifest, Objective
from sweep.store.write import StoreWriter

PACKAGES = ("mopoe-sweep", "ray", "optuna", "torch", "torchvision", "pyarrow", "polars", "moocore", "numpy")


def open_folder(root: Path, spec: SweepSpec, spec_hash: str) -> Manifest | None:
    """Return the manifest of a folder that already holds this sweep, or None if it is new.

    Raises:
        StoreError: the folder holds another sweep, other files, or is a file.
    """
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file, but results need a folder; choose another with --out")
    if not (root / MANIFEST).exists():
        # Checkpoints may be there before the manifest of nothing else is: only foreign files are refused.
        if root.exists() and any(root.iterdir()):
            raise StoreError(
                f"{root} holds files but no {MANIFEST}: it is no results folder; choose another with --out"
            )
        return None
    found = read_manifest(root / MANIFEST)
    if found.spec_hash != spec_hash:
        raise StoreError(
            f"{root} holds the results of another sweep: {difference(found.spec, spec.plain())}; "
            "choose another folder with --out"
        )
    return found


def difference(was: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Return the first difference between two specs as words.

    >>> difference({"seed": 0, "data": {"name": "digits"}}, {"seed": 1, "data": {"name": "digits"}})
    'seed was 0 there and is 1 here'
    """
    ignored = ("name", "trials", "resources")
    for key in [*was, *(k for k in now if k not in was)]:
        old, new = was.get(key), now.get(key)
        if key in ignored or old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = next(k for k in [*old, *new] if old.get(k) != new.get(k))
            return (
                f"{key}.{inner} was {old.get(inner, 'absent')} there and is {new.get(inner, 'absent')} here"
            )
        return f"{key} was {old} there and is {new} here"
    return "a sweep and single trials do not share a folder"


def new_manifest(
    spec: SweepSpec, spec_hash: str, classifier_accuracy: Mapping[str, float], classifier_hash: str | None
) -> Manifest:
    """Return the manifest of a sweep that begins now."""
    return Manifest(
        sweep_id=uuid4().hex[:12],
        name=spec.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        objectives=tuple(Objective(name=name) for name in spec.objectives),
        reference_point=dict(spec.reference_point),
        modalities=spec.modalities,
        data=spec.data.name,
        spec=spec.plain(),
        spec_hash=spec_hash,
        versions={name: version(name) for name in PACKAGES},
        git_revision=git_revision(),
        classifier_accuracy=dict(classifier_accuracy),
        classifier_hash=classifier_hash,
    )


def enter(
    root: Path,
    spec: SweepSpec,
    spec_hash: str,
    classifier_accuracy: Mapping[str, float],
    classifier_hash: str | None = None,
) -> Manifest:
    """Return the folder's manifest, after writing one if the folder is new."""
    found = open_folder(root, spec, spec_hash)
    if found is None:
        found = new_manifest(spec, spec_hash, classifier_accuracy, classifier_hash)
        StoreWriter(root).write_manifest(found)
    return found


def git_revision() -> str | None:
    """Return the revision of the source tree this package is in, or None if there is none."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607 - git from the user's PATH is meant
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
