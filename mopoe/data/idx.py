"""MNIST's idx files: a big-endian head that gives type and shape, then the bytes; often gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mopoe.errors import DataError

_AXES = {0x0803: 3, 0x0801: 1}
"""Number of axes by magic number: bytes in images [N, H, W], and in labels [N]."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an idx file, gzipped if its name ends in .gz: images [N, H, W] or labels [N].

    Raises:
        DataError: the file is missing, no gzip, of another type, cut off, or too long.
    """
    content = _read(path)
    if len(content) < 4:
        raise DataError(
            f"{path}: holds {len(content)} bytes, but an idx file starts with a magic number of 4"
        )
    (magic,) = struct.unpack_from(">I", content)
    if magic not in _AXES:
        raise DataError(
            f"{path}: starts with the magic number 0x{magic:08x}, but must with 0x00000803 (images) or "
            "0x00000801 (labels)"
        )
    head = 4 + 4 * _AXES[magic]
    if len(content) < head:
        raise DataError(f"{path}: ends after {len(content)} bytes, within its head of {head} bytes")
    shape = struct.unpack_from(f">{_AXES[magic]}I", content, 4)
    size = head + math.prod(shape)
    if len(content) != size:
        axes = " x ".join(map(str, shape))
        raise DataError(
            f"{path}: holds {len(content)} bytes, but a head of {head} and {axes} values are {size}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; an idx file of MNIST is expected") from None
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: not a gzip file, as its name says ({error})") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is cut off or damaged ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
