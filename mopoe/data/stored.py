"""The splits of a data set in one file, from which they are memory-mapped.

The file is in the safetensors format. All processes of a machine share its pages, so ten trials take the
memory of one.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mopoe.cache import cache_dir, cached_file, short_hash
from mopoe.data.container import SPLITS, MultimodalData, Split, fingerprint
from mopoe.data.registry import DATA_SETS, ModalitySpec, Option
from mopoe.errors import DataError


def save_splits(path: Path, splits: Mapping[str, Split], about: Mapping[str, Any]) -> None:
    """Write the splits to one file, with `about`, which `read_file` returns, in its header."""
    tensors = {f"{name}/{m}": x.contiguous() for name, s in splits.items() for m, x in s.x.items()}
    tensors |= {f"{name}/labels": s.labels.contiguous() for name, s in splits.items()}
    tensors |= {
        f"{name}/rows/{m}": row.contiguous() for name, s in splits.items() for m, row in s.rows.items()
    }
    tensors |= {f"{name}/present": s.present for name, s in splits.items() if s.present is not None}
    # A single entry, as the format does not keep the order of several: equal data give equal files.
    save_file(tensors, path, {"about": json.dumps(about)})


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the memory-mapped tensors of a file and the `about` in its header, empty if there is none.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads((file.metadata() or {}).get("about", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable data set ({error}); delete the file to build it again"
        ) from error


def map_splits(path: Path, modalities: tuple[ModalitySpec, ...]) -> dict[str, Split]:
    """Return the splits of a file as memory-mapped tensors.

    Raises:
        DataError: the file is damaged, or a tensor is missing.
    """
    tensors, _ = read_file(path)
    try:
        return {
            name: Split(
                {m.name: tensors[f"{name}/{m.name}"] for m in modalities},
                tensors[f"{name}/labels"],
                {m.name: tensors[key] for m in modalities if (key := f"{name}/rows/{m.name}") in tensors},
                tensors.get(f"{name}/present"),
            )
            for name in SPLITS
        }
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]} is missing; delete the file to build it again") from error


def map_data(
    path: Path,
    name: str,
    options: Mapping[str, Option],
    *,
    n_classes: int = 10,
    fingerprint: str | None = None,
) -> MultimodalData:
    """Return a registered data set, with its splits memory-mapped from a file.

    Args:
        path: the file that `save_splits` wrote.
        name: the data set.
        options: the options with which it was loaded.
        n_classes: number of classes, or of attributes.
        fingerprint: a hash of the data; by default the one in the file's header.

    Raises:
        DataError: the file is damaged, or a tensor is missing.
    """
    modalities = DATA_SETS[name].modalities
    return MultimodalData(
        name=name,
        options=options,
        fingerprint=fingerprint or read_file(path)[1]["fingerprint"],
        modalities=modalities,
        n_classes=n_classes,
        classes=(),
        **map_splits(path, modalities),
    )


def cached_splits(name: str, recipe: object, make: Callable[[], Mapping[str, Split]]) -> Path:
    """Return the cached file of a data set's splits, which is made if the cache has none for the recipe.

    Raises:
        DataError: the cache is not writable, or whatever `make` raises.
    """

    def build(path: Path) -> None:
        splits = make()
        save_splits(path, splits, {"data": name, "fingerprint": fingerprint(splits)})

    return cached_file(cache_dir() / f"{name}-{short_hash(recipe)}.safetensors", build)
