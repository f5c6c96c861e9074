"""Squared maximum mean discrepancy (MMD) between real and generated samples, in features as for `frechet`.

With the features of Inception v3 it is the kernel Inception distance (KID, Binkowski et al. 2018). Unlike the
Frechet distance it assumes no distribution and has no bias at few samples, so it may be slightly negative.
Axes: B block of samples, D feature, N sample.
"""

import math

from torch import Tensor

from mopoe.data.container import chunks
from mopoe.errors import DataError

BLOCK = 1000
"""Rows of the kernel matrices computed at a time: of 10 000 samples a block has 80 MB."""


def squared_mmd(real_ND: Tensor, generated_ND: Tensor) -> tuple[float, float | None]:
    """Return an unbiased estimate of the squared MMD, and its standard error.

    The kernel k is (x . y / D + 1)^3, and the estimate the U-statistic of Gretton et al. (2012, eq. 4): the
    mean of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) over all pairs i != j. The usual formula of
    KID includes k(x_i, y_i), which makes it biased if y_i is generated from other modalities of sample i;
    these terms are left out here. The standard error is that of the delete-one jackknife.

    Args:
        real_ND: features of real samples.
        generated_ND: features of as many generated ones.

    Returns:
        the estimate, and its standard error, which two samples do not have.

    Raises:
        DataError: there are fewer than two samples.
    """
    n = len(real_ND)
    if n < 2:
        raise DataError(f"an MMD needs at least 2 samples, not {n}")
    x_ND, y_ND = real_ND.double(), generated_ND.double()
    mean_N = x_ND.new_zeros(n)  # of the pairs of each sample
    for start, stop in chunks(n, BLOCK):
        x_BD, y_BD = x_ND[start:stop], y_ND[start:stop]
        h_BN = _kernel(x_BD, x_ND) + _kernel(y_BD, y_ND) - _kernel(x_BD, y_ND) - _kernel(y_BD, x_ND)
        h_BN.diagonal(start).zero_()
        mean_N[start:stop] = h_BN.sum(1) / (n - 1)
    value = mean_N.mean()
    if n == 2:
        return float(value), None
    # Without sample i the estimate is less by 2 (mean_i - value) / (n - 2).
    squares = float((mean_N - value).square().sum())
    return float(value), 2 * math.sqrt(squares * (n - 1) / n) / (n - 2)


def _kernel(a_BD: Tensor, b_ND: Tensor) -> Tensor:
    return (a_BD @ b_ND.t() / a_BD.shape[1] + 1) ** 3
