"""Makes the manifest of a results folder, and decides whether a folder may be written to."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import distribution, version
from pathlib import Path
from uuid import uuid4

from sweep.config.sweep_spec import CHANGEABLE, SweepSpec, spec_of
from sweep.errors import StoreError
from sweep.store.files import Files, files_at
from sweep.store.read import MANIFEST, open_store
from sweep.store.records import Manifest, SharedInputs
from sweep.store.write import StoreWriter

PACKAGES = ("mopoe-sweep", "ray", "optuna", "torch", "torchvision", "pyarrow", "polars", "moocore", "numpy")

FIXED = ("data", "objectives", "search_space")
"""Keys that no option allows to change: earlier trials would have no place in the sweep."""
MEASURED_BY = ("data", "evaluation", "objectives", "reference_point")
"""The keys that single trials in one folder share: what their numbers are of and measured by."""


def stored_spec(root: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Return the sweep that a results folder holds, to run it: as its last run had it, with overrides.

    Its data set is asked for its modalities. To read results take `Store.spec`, which asks nothing.

    Raises:
        StoreError: the folder is no results folder.
        SpecError: an override is wrong, or `sweep.json` was written by a release with other settings.
    """
    return spec_of(open_store(root).document, overrides)


def open_folder(
    root: str | Path | Files,
    spec: SweepSpec,
    spec_hash: str,
    *,
    fingerprint: str | None = None,
    allowed: Sequence[str] = (),
) -> Manifest | None:
    """Return the manifest of a folder that already holds this sweep, or None if it is new.

    Args:
        root: the folder, or its address.
        spec: the sweep.
        spec_hash: what makes it the same sweep.
        fingerprint: hash of the data, if they are loaded.
        allowed: keys that may differ from those of the folder all the same, such as `evaluation.every`.

    Raises:
        StoreError: the folder holds another sweep, trials of other data, other files, or is a file.
    """
    files = files_at(root)
    if Path(files.address).is_file():
        raise StoreError(f"{files} is a file, but results need a folder; choose another with --out")
    if MANIFEST not in files.list():
        # Checkpoints may be there before the manifest of nothing else is: only foreign files are refused.
        if not files.empty():
            raise StoreError(
                f"{files} holds files but no {MANIFEST}: it is no results folder; choose another with --out"
            )
        return None
    found = open_store(files).manifest
    if fingerprint and found.data_fingerprint and fingerprint != found.data_fingerprint:
        raise StoreError(
            f"{files} holds trials of other data: their fingerprint is {found.data_fingerprint}, and that of "
            f"{spec.data.name} here {fingerprint}; bring the data back, or choose another folder with --out"
        )
    if found.spec_hash == spec_hash:
        return found
    changed = differences(found.spec, spec.plain())
    if spec_hash.startswith("t") and found.spec_hash.startswith("t"):
        changed = {key: pair for key, pair in changed.items() if _head(key) in MEASURED_BY}
    refused = [key for key in changed if _head(key) in FIXED or not _covers(allowed, key)]
    way_out = ""
    if refused:
        words = _words(refused[0], *changed[refused[0]])
        if _head(refused[0]) not in FIXED:
            way_out = f", or go on here with --allow-changed {refused[0]}"
    elif found.spec_hash.startswith("t") != spec_hash.startswith("t"):
        words = "a sweep and single trials do not share a folder"
    else:  # or only defaults that an earlier release did not know
        return found
    raise StoreError(
        f"{files} holds the results of another sweep: {words}; choose another folder with --out{way_out}"
    )


def differences(was: Mapping[str, object], now: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return what differs between two specs and may not, as (there, here) by key; one level is opened.

    >>> differences({"seed": 0, "data": {"name": "digits"}}, {"seed": 1, "data": {"name": "digits"}})
    {'seed': (0, 1)}
    """
    found: dict[str, tuple[object, object]] = {}
    for key in [k for k in dict.fromkeys((*was, *now)) if k not in CHANGEABLE and was.get(k) != now.get(k)]:
        old, new = was.get(key, "absent"), now.get(key, "absent")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            pairs = {k: (old.get(k, "absent"), new.get(k, "absent")) for k in dict.fromkeys((*old, *new))}
            found |= {f"{key}.{k}": pair for k, pair in pairs.items() if pair[0] != pair[1]}
        else:
            found[key] = (old, new)
    return found


def _head(key: str) -> str:
    return key.partition(".")[0]


def _covers(allowed: Sequence[str], key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _words(key: str, old: object, new: object) -> str:
    return f"{key} was {old} there and is {new} here"


def new_manifest(spec: SweepSpec, spec_hash: str, inputs: SharedInputs) -> Manifest:
    """Return the manifest of a sweep that begins now."""
    return Manifest(
        sweep_id=uuid4().hex[:12],
        name=spec.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        objectives=spec.objectives,
        reference_point=dict(spec.reference_point),
        modalities=spec.modalities,
        data=spec.data.name,
        spec=spec.plain(),
        spec_hash=spec_hash,
        versions={name: version(name) for name in PACKAGES},
        git_revision=git_revision(),
        **asdict(inputs),
    )


def enter(
    root: str | Path | Files,
    spec: SweepSpec,
    spec_hash: str,
    inputs: SharedInputs,
    *,
    allowed: Sequence[str] = (),
) -> Manifest:
    """Return the folder's manifest, after writing it if the folder is new or something changed that may."""
    found = open_folder(root, spec, spec_hash, fingerprint=inputs.data_fingerprint, allowed=allowed)
    if found is None:
        manifest = new_manifest(spec, spec_hash, inputs)
    else:
        changed = differences(found.spec, spec.plain()) if found.spec_hash != spec_hash else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        words = (f"{now}: {_words(key, old, new)}" for key, (old, new) in changed.items())
        manifest = replace(
            found,
            spec=spec.plain(),
            spec_hash=spec_hash,
            reference_point=dict(spec.reference_point),
            allowed_changes=(*found.allowed_changes, *words),
            # Of a folder of an earlier release, the data it goes on with.
            data_fingerprint=found.data_fingerprint or inputs.data_fingerprint,
        )
    if manifest != found:
        StoreWriter(root).write_manifest(manifest)
    return manifest


def git_revision() -> str | None:
    """Return the revision of the source tree that this package is an editable install of, else None.

    A plus sign stands behind it if there are changes that are not committed. An environment may lie in any
    repository: only pip knows whether this project was installed from one.
    """
    told = json.loads(distribution(PACKAGES[0]).read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None

    def git(*words: str) -> str:
        return subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(Path(__file__).parent), *words],  # noqa: S607 - git from the user's PATH is meant
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
