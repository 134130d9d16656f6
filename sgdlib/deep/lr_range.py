r"""The learning-rate range test: raise the rate step by step, watch the loss, put everything back.

At step k the rate is

    lr_k = low (high/low)^(k/(steps - 1)),

and the loss paired with it is that of the *next* batch, taken before a step is made on it. The
noisy curve is smoothed by a straight line fitted around each point, which has no bias where the
curve is straight: not at its beginning, where a running average that starts from zero rises, and
not in the middle, where a running average lags behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import torch

from sgdlib import _check
from sgdlib.deep._as_found import optimizer_as_found, random_numbers, tensors_as_found, training
from sgdlib.deep._fit import check_fit
from sgdlib.deep._losses import Loss
from sgdlib.deep._models import check_model, lazy_name, trained_parameters, with_loss
from sgdlib.deep._plan import check_smallest
from sgdlib.deep._tensors import check_data
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.optim import Rates
from sgdlib.deep.step import Step

_WIDTH = 0.03  # of the smoother, as a share of the sweep: two standard deviations either side


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The result of a range test of K steps, fewer than asked for if the loss blew up.

    Attributes
    ----------
    lrs
        (K,) learning rates, rising by a constant factor.
    losses
        (K,) mean loss of the batch after the step with that rate, before a step on it.
    smoothed
        (K,) the curve without its noise, by local straight lines.
    lowest
        The rate at which `smoothed` is lowest: about the upper end of the useful range. If it is
        the last of `lrs`, the loss was still falling: raise `high`.
    fall, stderr
        How far `smoothed` falls from the start to there, with its standard error.
    suggestion
        A third of `lowest`: a long run does not survive all that a short sweep does. None if the
        fall is not four standard errors: then take larger batches or more steps.
    blew_up
        Whether the sweep ended early.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    lowest: float
    fall: float
    stderr: float
    suggestion: float | None
    blew_up: bool


def lr_range_test(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 100,
    optimizer: torch.optim.Optimizer | None = None,
    micro_batch_size: int | None = None,
    clip: float | None = None,
    precision: str = "float32",
    rng: int | np.random.Generator | None = None,
) -> RangeTest:
    """Raise the learning rate from `low` to `high` in `steps` steps and suggest one.

    Parameters, buffers, gradients and modes of the model, state and rates of the optimizer, and
    torch's random state are as before afterwards, also if something fails on the way. A layer in
    evaluation mode in a model that is in training mode stays so.

    Parameters
    ----------
    model
        Any module, on the device where it is to be tested. A lazy layer gets its shape.
    loss
        Function of the model's output and the targets that returns one loss per example, shape
        (B,). It may be negative: only differences of losses are looked at.
    data
        Inputs and targets, tensors with N rows each; reshuffled each epoch, a short last batch
        left out.
    batch_size
        An int in 1..N: the one you will train with, since the limit depends on it.
    low, high
        First and last rate, 0 < low < high.
    steps
        Number of steps of the sweep, 20 to a million.
    optimizer
        The one you will train with, over the model's parameters; its first group gets the rate,
        others keep their ratio to it. None: plain SGD.
    micro_batch_size, clip, precision
        As in `train`, and as you will train.
    rng
        Seed or NumPy Generator for the order of the examples and for the model (dropout).

    Returns
    -------
    RangeTest

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, in one sentence, before any work is done.
    ArithmeticError
        If the loss is not finite before the first steps have been made.

    Notes
    -----
    L. N. Smith (2017), arXiv:1506.01186, who raises the rate linearly. Derived in the chapter
    *Schedules and the range test*.

    Examples
    --------
    >>> X = torch.linspace(-1, 1, 64).view(64, 1)
    >>> y = 3 * X[:, 0] - 1
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> model = torch.nn.Linear(1, 1)
    >>> test = lr_range_test(model, squares, (X, y), batch_size=16, rng=0)
    >>> 0.01 < test.suggestion < test.lowest < 4
    True
    """
    check_model(model)
    trained = trained_parameters(model)
    steps = _check.integer("steps", steps, low=20)
    _check.integer("steps", steps, low=20, high=1_000_000)
    low = _check.number("low", low, above=0)
    high = _check.number("high", high, above=low)
    step = Step(
        model,
        loss,
        torch.optim.SGD(trained, lr=low) if optimizer is None else optimizer,
        micro_batch_size=micro_batch_size,
        clip=clip,
        precision=precision,
    )
    rates, device = Rates(step.optimizer), step.device
    rates.check_ratios()
    data = tuple(t.to(device) for t in check_data("data", data))
    batch_size = _check.integer("batch_size", batch_size, high=len(data[0]))
    batches = TensorBatches(*data, batch_size=batch_size, last="drop", rng=rng)
    lrs = np.geomspace(low, high, steps)
    losses, window = np.full(steps, np.nan), steps // 10
    with ExitStack() as put_back:
        put_back.enter_context(torch.inference_mode(False))  # whatever the caller is in
        put_back.enter_context(torch.autocast(device.type, enabled=False))
        put_back.enter_context(random_numbers(device, batches.indices.seed))
        if lazy_name(model) is not None:
            check_fit("data", model, loss, data, precision)  # gives it the shapes to be put back
        put_back.enter_context(tensors_as_found(with_loss(model, loss)))
        check_fit("data", model, loss, data, precision, train=True)
        check_smallest(model, data[0], {batch_size}, step.micro_batch_size, precision)
        put_back.enter_context(optimizer_as_found(step.optimizer))
        put_back.enter_context(training(model))
        endless = chain.from_iterable(batches.iterate(epoch) for epoch in count())
        for k, (*batch, weights) in zip(range(steps + 1), endless, strict=False):
            rates.set(float(lrs[min(k, steps - 1)]))
            now = step(batch, weights).mean().item()  # before the update
            if k:
                losses[k - 1] = now
            if not np.isfinite(now) or (k > 2 * window and _blown_up(losses[:k], window)):
                break
    done = int(np.isfinite(losses).sum())
    if done < steps // 4:
        raise ArithmeticError(
            f"low={low:g}: the loss blew up within {done + 1} of {steps} steps; expected a first "
            "rate that hardly moves the model"
        )
    return _read(lrs[:done], losses[:done], steps)


def _blown_up(losses: np.ndarray, window: int) -> bool:
    """Tell whether the last few losses are above the ceiling."""
    return losses[-window:].mean() > _ceiling(losses, window)


def _ceiling(losses: np.ndarray, window: int) -> float:
    """Return the loss that is above the start by more than it had fallen, and by more than noise.

    Made of differences: adding a constant to the loss changes nothing.
    """
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    return means[0] + (means[0] - means.min()) + 4 * losses[:window].std()


def _read(lrs: np.ndarray, losses: np.ndarray, steps: int) -> RangeTest:
    """Smooth the curve, find its lowest point, and tell whether it is a fall or noise."""
    window = steps // 10
    calm = np.minimum(losses, losses[:window].max())  # one exploding loss must not tilt the rest
    x = np.log(lrs)
    smoothed, spread = local_lines(x, calm, _WIDTH * steps * (x[1] - x[0]))
    lowest = int(np.argmin(smoothed))
    start = losses[:window].mean()
    noise = (losses - smoothed)[: 3 * window].std(ddof=2)
    stderr = float(noise * np.hypot(spread[lowest], 1 / np.sqrt(window)))
    fall = float(start - smoothed[lowest])
    return RangeTest(
        lrs=lrs,
        losses=losses,
        smoothed=smoothed,
        lowest=float(lrs[lowest]),
        fall=fall,
        stderr=stderr,
        suggestion=float(lrs[lowest]) / 3 if fall > 4 * stderr else None,
        blew_up=len(lrs) < steps,
    )


def local_lines(x: np.ndarray, y: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit a straight line around each point, weighted by a Gaussian of this bandwidth.

    Returns
    -------
    level
        (K,) value of each point's line there; exact where y is a straight line, up to the ends.
    spread
        (K,) standard error of `level` per unit of independent noise in y.
    """
    away = x - x[:, None]
    w = np.exp(-((away / bandwidth) ** 2) / 2)
    s0, s1, s2 = w.sum(1), (w * away).sum(1), (w * away**2).sum(1)
    pull = w * (s2[:, None] - s1[:, None] * away) / (s0 * s2 - s1**2)[:, None]
    return pull @ y, np.sqrt(np.square(pull).sum(1))
