r"""Which batch size, which rate: a few measured numbers in, the formulas of the chapters out.

In short::

    time of a step       tau_f + tau_d b             the line through two measured times
    noise scale          tr(Sigma)/|grad L|^2        from |g|^2 at two batch sizes
    best batch size      sqrt(noise scale tau_f K / tau_d)          on K workers

What fits into memory and what hides behind computing is in `sgdlib.capacity`. The page *Which batch
size, which rate?* computes the same in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sgdlib import _check
from sgdlib._two_sizes import line, two_sizes
from sgdlib.scaling import TimeModel, scale_lr
from sgdlib.stability import stability_limit

_RULES = ("linear", "sqrt")


def two_batch_noise_scale(square_norms: Mapping[int, float]) -> float:
    """Return the gradient noise scale from mean squared gradient norms at two batch sizes.

    Parameters
    ----------
    square_norms
        Batch size -> mean of ``|g|^2`` over many batches of that size; two entries.

    Raises
    ------
    ValueError, TypeError
        If there are not two sizes with positive numbers.
    ArithmeticError
        If the estimate of ``|grad L|^2`` or of ``tr(Sigma)`` is not positive.

    Notes
    -----
    McCandlish et al. (2018), arXiv:1812.06162, appendix A; for a finite sum with its error
    `sgdlib.gradient_noise.gradient_noise_scale`. Derived in the chapter *Choosing the batch size*.

    Examples
    --------
    >>> round(two_batch_noise_scale({32: 1.0, 256: 0.2}), 6)
    341.333333
    """
    (small, at_small), (big, at_big) = two_sizes("square_norms", square_norms)
    signal = (big * at_big - small * at_small) / (big - small)
    noise = (at_small - at_big) / (1 / small - 1 / big)
    if signal <= 0 or noise <= 0:
        what = "|grad L|^2" if signal <= 0 else "tr(Sigma)"
        raise ArithmeticError(
            f"square_norms={dict(square_norms)}: the estimate of {what} is not positive; average "
            "over more batches"
        )
    return noise / signal


@dataclass(frozen=True)
class BatchChoice:
    """The best batch size of the time model, in examples over all workers.

    Attributes
    ----------
    overhead, per_example
        tau_f and tau_d, seconds.
    break_even
        ``tau_f/tau_d``: the examples of one worker that take as long as the overhead.
    best
        Where the time to a target is least.
    band
        Between which sizes it is at most 10 % longer.
    off_by_four
        Time at four times the best size, or at a quarter of it, over the least.
    batch_size
        The recommended one: a power of two for each worker, nearest to the best.
    """

    overhead: float
    per_example: float
    break_even: float
    best: float
    band: tuple[float, float]
    off_by_four: float
    batch_size: int


def choose_batch_size(
    step_times: Mapping[int, float], *, noise_scale: float, workers: int = 1
) -> BatchChoice:
    """Return the batch size that reaches a target in the least time, by the time model.

    Parameters
    ----------
    step_times
        Batch size -> seconds of a step on one worker; two entries.
    noise_scale
        Gradient noise scale, in examples, averaged over the run: it stands for the critical size.
    workers
        K workers share each batch and step together; communication is not in the model.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.
    ArithmeticError
        If the two times show no overhead, or no time for each example.

    Notes
    -----
    Derived in the chapter *Choosing the batch size*: 12.5 % more time at most for a factor of two.

    Examples
    --------
    >>> choice = choose_batch_size({32: 0.009, 256: 0.023}, noise_scale=1000)
    >>> round(choice.best), choice.batch_size
    (335, 256)
    """
    intercept, slope = line(two_sizes("step_times", step_times))
    noise_scale = _check.number("noise_scale", noise_scale, above=0)
    workers = _check.integer("workers", workers)
    if slope <= 0:
        raise ArithmeticError(
            f"step_times={dict(step_times)}: the larger batch takes no longer; measure a larger one"
        )
    if intercept <= 0:
        raise ArithmeticError(
            f"step_times={dict(step_times)}: no overhead is left over, so that small batches cost "
            "nothing; measure a smaller one"
        )
    model = TimeModel(
        iterations=1, variance_cost=noise_scale, overhead=intercept, per_example=slope / workers
    )
    best = model.optimal_batch_size()
    least = float(model.time(best))
    # T(x best)/T(best) = 1 + (x + 1/x - 2) q/T(best), with q = per_example best
    half = 1 + 0.1 * least / (2 * model.per_example * best)
    reach = half + math.sqrt(half**2 - 1)
    return BatchChoice(
        overhead=intercept,
        per_example=slope,
        break_even=intercept / slope,
        best=best,
        band=(best / reach, best * reach),
        off_by_four=float(model.time(4 * best)) / least,
        batch_size=workers * 2 ** max(0, math.floor(math.log2(best / workers) + 0.5)),
    )


@dataclass(frozen=True)
class RateChoice:
    """A scaled learning rate, and the rate above which no theory of this book goes."""

    lr: float
    limit: float


def choose_lr(
    lr: float,
    batch_size: int,
    new_batch_size: int,
    *,
    noise_scale: float,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    curvature: float | None = None,
) -> RateChoice:
    """Return the learning rate for another batch size, and its limit.

    Parameters
    ----------
    lr, batch_size
        A rate that is good at this batch size.
    new_batch_size
        Where the rate is wanted.
    noise_scale
        Gradient noise scale, in examples.
    optimizer
        ``"sgd"``: linear rule. Its limit is ``lr (1 + noise_scale/batch_size)``, the rate of an
        exact gradient, or the stability limit if that is lower. ``"adam"``: square-root rule; the
        factor lies between the root and the ratio of sizes, and the larger of them is the limit.
    momentum, curvature
        Of SGD: for the stability limit, where the largest curvature is known.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Derived in the chapters *Linear scaling*, *Choosing the batch size*, *The learning rate*.

    Examples
    --------
    >>> choose_lr(0.1, 32, 256, noise_scale=1000, curvature=1.0)
    RateChoice(lr=0.8, limit=2.0)
    """
    _check.option("optimizer", optimizer, ("sgd", "adam"))
    scaled = {rule: scale_lr(lr, batch_size, new_batch_size, rule=rule) for rule in _RULES}
    exact = lr * (1 + _check.number("noise_scale", noise_scale, above=0) / batch_size)
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    if curvature is not None:
        exact = min(exact, stability_limit(curvature, momentum=momentum))
    if optimizer == "adam":
        return RateChoice(scaled["sqrt"], max(scaled.values()))
    return RateChoice(scaled["linear"], exact)
