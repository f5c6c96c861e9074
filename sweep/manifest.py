"""Creates the manifest of a results folder and decides whether a sweep may write to it."""

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
from sweep.store.layout import MANIFEST
from sweep.store.read import open_store
from sweep.store.records import Manifest, SharedInputs
from sweep.store.write import StoreWriter

PACKAGES = ("mopoe-sweep", "ray", "optuna", "torch", "torchvision", "pyarrow", "polars", "moocore", "numpy")

FIXED = ("data", "objectives", "search_space", "replicates")
"""Keys that no option allows to change: the sweep could not use its earlier trials."""
MEASURED_BY = ("data", "evaluation", "objectives", "reference_point")
"""Keys that single trials in one folder must share for their values to be comparable."""


def stored_spec(root: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Return the sweep of a results folder in order to run it: as its last run had it, with overrides.

    This loads the module of its data set. To read results use `Store.spec`, which does not.

    Raises:
        StoreError: the folder is no results folder.
        ConfigError: an override is wrong, or `sweep.json` holds settings that this release does not know.
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
        spec_hash: identifies the sweep; `t...` that of single trials.
        fingerprint: hash of the data, if they are loaded.
        allowed: keys that may differ from those of the folder, such as `evaluation.every`.

    Raises:
        StoreError: the folder holds another sweep, trials of other data, other files, or is a file.
    """
    files = files_at(root)
    if Path(files.address).is_file():
        raise StoreError(f"{files} is a file, but results need a folder; choose another with --out")
    if MANIFEST not in files.list():
        if not files.empty():
            raise StoreError(
                f"{files} holds files but no {MANIFEST}: it is not a results folder; choose another with "
                "--out"
            )
        return None
    store = open_store(files)
    manifest = store.manifest
    if fingerprint and manifest.data_fingerprint and fingerprint != manifest.data_fingerprint:
        raise StoreError(
            f"{files} holds trials on other data (fingerprint {manifest.data_fingerprint}; {spec.data.name} "
            f"here has {fingerprint}); restore the data, or choose another folder with --out"
        )
    if manifest.spec_hash == spec_hash:
        return manifest
    changed = differences(store.spec.plain(), spec.plain())
    if spec_hash.startswith("t") and manifest.spec_hash.startswith("t"):
        changed = {key: pair for key, pair in changed.items() if _head(key) in MEASURED_BY}
    refused = [key for key in changed if _head(key) in FIXED or not {key, _head(key)} & {*allowed}]
    way_out = ""
    if refused:
        reason = _sentence(refused[0], *changed[refused[0]])
        if _head(refused[0]) not in FIXED:
            way_out = f", or continue here with --allow-changed {refused[0]}"
    elif manifest.spec_hash.startswith("t") != spec_hash.startswith("t"):
        reason = "a sweep and single trials cannot share a folder"
    else:
        return manifest
    raise StoreError(
        f"{files} holds the results of another sweep: {reason}; choose another folder with --out{way_out}"
    )


def differences(was: Mapping[str, object], now: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return the values that differ between two specs although they must not, as (there, here) by key.

    A section is compared key by key.

    >>> differences({"seed": 0, "data": {"name": "digits"}}, {"seed": 1, "data": {"name": "digits"}})
    {'seed': (0, 1)}
    """
    old, new = _by_dotted_key(was), _by_dotted_key(now)
    pairs = {key: (old.get(key, "absent"), new.get(key, "absent")) for key in old | new}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _by_dotted_key(spec: Mapping[str, object]) -> dict[str, object]:
    """Return the values that may not change; those of a section by keys such as `data.name`."""
    values: dict[str, object] = {}
    for key in [key for key in spec if key not in CHANGEABLE]:
        section = spec[key]
        if isinstance(section, Mapping):
            values |= {f"{key}.{name}": value for name, value in section.items()}
        else:
            values[key] = section
    if folds := spec.get("replicates", {}).get("folds"):  # type: ignore[attr-defined] # a section
        values["replicates.folds"] = folds  # of what there may be others only with other seeds
    return values


def _head(key: str) -> str:
    return key.partition(".")[0]


def _sentence(key: str, old: object, new: object) -> str:
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


def open_or_create_manifest(
    root: str | Path | Files,
    spec: SweepSpec,
    spec_hash: str,
    inputs: SharedInputs,
    *,
    allowed: Sequence[str] = (),
) -> Manifest:
    """Return the folder's manifest, after writing it if the folder is new or the spec has changed."""
    before = open_folder(root, spec, spec_hash, fingerprint=inputs.data_fingerprint, allowed=allowed)
    if before is None:
        manifest = new_manifest(spec, spec_hash, inputs)
    else:
        was = open_store(root).spec.plain()
        changed = differences(was, spec.plain()) if before.spec_hash != spec_hash else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        sentences = (f"{now}: {_sentence(key, old, new)}" for key, (old, new) in changed.items())
        manifest = replace(
            before,
            spec=spec.plain(),
            spec_hash=spec_hash,
            reference_point=dict(spec.reference_point),
            allowed_changes=(*before.allowed_changes, *sentences),
            data_fingerprint=before.data_fingerprint or inputs.data_fingerprint,
        )
    if manifest != before:
        StoreWriter(root).write_manifest(manifest)
    return manifest


def git_revision() -> str | None:
    """Return the revision of the source tree if this package is an editable install of one, else None.

    A plus sign follows it if there are uncommitted changes. The environment itself may lie in any repository,
    so it is pip that says whether the project was installed from one.
    """
    origin = json.loads(distribution(PACKAGES[0]).read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
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
