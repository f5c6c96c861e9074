"""Texts as one-hot characters. Axes: B batch, C character, L position."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"
"""The 71 entries of the released data sets. The hyphen is there twice: texts are written with the first, as
in the released code; the second is read as a hyphen too."""


def one_hot(texts: Sequence[str]) -> Tensor:
    """Return texts of equal length as uint8 [B, 71, L], 255 at the characters.

    >>> int(one_hot(["a "])[0, :, 1].argmax()) == ALPHABET.index(" ")
    True
    """
    index_BL = torch.tensor([[ALPHABET.index(character) for character in text] for text in texts])
    hot_BLC = torch.nn.functional.one_hot(index_BL, len(ALPHABET))
    return hot_BLC.transpose(1, 2).contiguous().to(torch.uint8) * 255


def most_probable(x_BCL: Tensor) -> list[str]:
    """Return the most probable text of each sample: [B, 71, L], one-hot or probabilities.

    >>> most_probable(one_hot([" two    ", "a-b"[::-1] + "     "]))
    [' two    ', 'b-a     ']
    """
    return ["".join(ALPHABET[i] for i in row) for row in x_BCL.argmax(1).tolist()]
