"""How recall falls as galleries grow: laws of two numbers, fitted to what was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SIZE_LAWS", "FittedLaw", "SizeLaw", "fit_size_law", "fit_size_laws"]

Numbers = NDArray[np.float64]

SIZE_LAWS: Mapping[str, str] = {
    "beta": "P(X < k), X beta-binomial of n - 1 items with (a, b)",
    "power": "exp(a) n^b",
    "logarithmic": "a + b ln n",
}
"""Name -> R@k among n items.

"beta" is what comes of queries of which each has its own share of items that score higher than its relevant one, where
these shares have a beta distribution; a is then the power of n by which R@k falls in large galleries. The others are
lines through R@k, or its logarithm, against the logarithm of n.
"""


@dataclass(frozen=True, slots=True)
class SizeLaw:
    """A law of `SIZE_LAWS` for one k, with its two numbers."""

    name: str
    k: int
    a: float
    b: float

    def recall(self, sizes: ArrayLike) -> Numbers:
        """What it says of galleries of these sizes (m,), never below 0 or above 1.

        >>> SizeLaw("logarithmic", 1, 1.0, -0.1).recall([1.0, math.e]).round(3).tolist()
        [1.0, 0.9]
        >>> SizeLaw("beta", 1, 1.0, 1.0).recall([1.0, 2.0, 10.0]).round(3).tolist()  # any share is as likely
        [1.0, 0.5, 0.1]
        """
        n = np.asarray(sizes, np.float64)
        if self.name == "beta":
            return _fewer_above(np.array(self.a), np.array(self.b), n, self.k)
        line = self.a + self.b * np.log(n)
        shares: Numbers = np.clip(np.exp(np.minimum(line, 0)) if self.name == "power" else line, 0, 1)
        return shares


@dataclass(frozen=True, slots=True)
class FittedLaw:
    """A law, and how well it fits.

    Attributes:
        error: The root of the mean squared distance from the shares that it was fitted to.
        ahead: The same for the sizes above a quarter of the largest, of the law fitted to those up to a quarter only:
            what an extrapolation by a factor of four is off; None where too few sizes are that small.
    """

    law: SizeLaw
    error: float
    ahead: float | None


_LEAST = 3  # sizes that two numbers are fitted to


def fit_size_laws(sizes: ArrayLike, recalls: ArrayLike, k: int, queries: int) -> tuple[FittedLaw, ...]:
    """All laws, fitted by least squares to R@k (m,) in galleries of the sizes (m,), at least three of them different;
    the one that predicts larger sizes best comes first, or where that cannot be tried the one that fits best.

    queries: how many asked: where none is answered, a logarithm takes that for half a query.
    Raises ValueError where there are too few sizes.
    """
    n, shares = np.asarray(sizes, np.float64), np.asarray(recalls, np.float64)
    if len(np.unique(n)) < _LEAST:
        raise ValueError(f"{len(np.unique(n))} sizes: a law takes at least {_LEAST}")
    is_small = n <= n.max() / 4
    fitted = []
    for name in SIZE_LAWS:
        law = fit_size_law(name, n, shares, k, queries)
        ahead = None
        if len(np.unique(n[is_small])) >= _LEAST:
            before = fit_size_law(name, n[is_small], shares[is_small], k, queries)
            ahead = _distance(before, n[~is_small], shares[~is_small])
        fitted.append(FittedLaw(law, _distance(law, n, shares), ahead))
    return tuple(sorted(fitted, key=lambda each: each.error if each.ahead is None else each.ahead))


def fit_size_law(name: str, sizes: Numbers, shares: Numbers, k: int, queries: int) -> SizeLaw:
    """One law, otherwise as `fit_size_laws`."""
    if name == "beta":
        return _fit_beta(sizes, shares, k)
    values, slopes = shares, np.ones_like(shares)
    if name == "power":
        slopes = np.maximum(shares, 0.5 / max(1, queries))
        values = np.log(slopes)
    # A line through the logarithms, weighted by their slope: least squares of shares.
    x = np.log(sizes)
    weights = slopes**2 / np.sum(slopes**2)
    centre, level = float(weights @ x), float(weights @ values)
    b = float(weights @ ((x - centre) * (values - level))) / float(weights @ (x - centre) ** 2)
    return SizeLaw(name, k, level - b * centre, b)


def _fit_beta(sizes: Numbers, shares: Numbers, k: int) -> SizeLaw:
    """By a grid over the logarithms of both numbers, made finer around its best point until that no longer moves."""
    lowest, highest = np.array([-5.0, -2.0]), np.array([2.0, 14.0])
    best = lowest
    for _ in range(_ROUNDS):
        log_a, log_b = (np.linspace(low, high, _GRID) for low, high in zip(lowest, highest, strict=True))
        a, b = (grid[..., None] for grid in np.meshgrid(np.exp(log_a), np.exp(log_b), indexing="ij"))
        errors = np.sum((_fewer_above(a, b, sizes, k) - shares) ** 2, axis=-1)
        row, column = np.unravel_index(int(errors.argmin()), errors.shape)
        best = np.array([log_a[row], log_b[column]])
        reach = (highest - lowest) / (_GRID - 1) * 2
        lowest, highest = best - reach, best + reach
    return SizeLaw("beta", k, math.exp(best[0]), math.exp(best[1]))


_GRID, _ROUNDS = 15, 7  # each round is 3.5 times as fine as the one before


def _fewer_above(a: Numbers, b: Numbers, sizes: Numbers, k: int) -> Numbers:
    """The chance that fewer than k of the other items score higher: the beta-binomial distribution function.

    a, b: (...,) or (..., 1). sizes: (m,). Returns (..., m).
    """
    above = np.arange(float(k))
    others = sizes[:, None] - 1
    below = np.maximum(others - above, 0.0)
    a, b = a[..., None], b[..., None]
    chosen = _log_gamma(others + 1) - _log_gamma(above + 1) - _log_gamma(below + 1)
    logs = chosen + _log_beta(above + a, below + b) - _log_beta(a, b)
    chances: Numbers = np.minimum(np.sum(np.where(above <= others, np.exp(logs), 0), axis=-1), 1)
    return chances


def _log_beta(a: Numbers, b: Numbers) -> Numbers:
    return _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)


def _log_gamma(values: Numbers) -> Numbers:
    """ln Gamma of numbers above 0, to nine places: Stirling's series (Abramowitz and Stegun 6.1.41) from 8 on, and
    what the recurrence adds below."""
    x = np.asarray(values, np.float64)
    added = np.zeros_like(x)
    for _ in range(8):
        is_small = x < 8
        added -= np.where(is_small, np.log(np.where(is_small, x, 1)), 0)
        x = np.where(is_small, x + 1, x)
    series = 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)
    logs: Numbers = added + (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + series
    return logs


def _distance(law: SizeLaw, sizes: Numbers, shares: Numbers) -> float:
    return math.sqrt(float(np.mean((law.recall(sizes) - shares) ** 2)))
