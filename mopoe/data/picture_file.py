"""Opens pictures that may be anything: of another format than their name says, damaged, or bombs.

Pillow's own `open` asks every plugin it has, Ghostscript's among them, and only warns of a picture too large.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from mopoe.errors import DataError

MOST_PIXELS = 100_000_000
"""Of a picture that is decoded, which takes 300 MB."""
_FORMATS = {"JPEG": (b"\xff\xd8\xff", JpegImageFile), "PNG": (b"\x89PNG\r\n\x1a\n", PngImageFile)}
"""First bytes, and what reads the rest."""


@contextlib.contextmanager
def open_picture(file: Path, what: str, *formats: str) -> Iterator[ImageFile]:
    """Give a picture that is not decoded yet, of one of these formats.

    Raises:
        DataError: it is of another format, too large, or damaged, even if that shows within the block.
    """
    try:
        with file.open("rb") as stream:
            start = stream.peek(8)
            found = next((name for name in formats if start.startswith(_FORMATS[name][0])), None)
            if found is None:
                raise DataError(f"{file}: not a readable {what} (it is no {' or '.join(formats)} file)")
            picture = _FORMATS[found][1](stream)
            if picture.width * picture.height > MOST_PIXELS:
                raise DataError(
                    f"{file}: is {picture.width} x {picture.height} pixels, more than the {MOST_PIXELS} in "
                    "all that are decoded"
                )
            yield picture
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise DataError(f"{file}: not a readable {what} ({error})") from error
