"""Texts as numbers of characters. Axes: B batch, C character, L position."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"
"""The 71 entries of the released data sets. The hyphen is there twice: texts are written with the first, as
in the released code; the second is read as a hyphen too."""


def encode(texts: Sequence[str]) -> Tensor:
    """Return the place of each character in the alphabet, of texts of equal length: int8 [B, L].

    >>> encode(["abc", "-z "]).tolist()
    [[0, 1, 2], [36, 25, 69]]
    """
    return torch.tensor([[ALPHABET.index(c) for c in text] for text in texts], dtype=torch.int8)


def decode(x: Tensor) -> list[str]:
    """Return texts from places [B, L], or the most probable ones from probabilities [B, C, L].

    >>> decode(encode([" two    "]))
    [' two    ']
    """
    places_BL = x.argmax(1) if x.is_floating_point() else x
    return ["".join(ALPHABET[i] for i in row) for row in places_BL.tolist()]
