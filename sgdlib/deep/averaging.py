r"""Averages over the weights of one run, as hooks of `train`.

In short::

    mean <- mean + (theta - mean)/k                         SWA: of K snapshots of one run
    theta ~ Normal(mean, (diag(v) + D D'/(r - 1))/2)        SWAG: v their variances, D (P, r) the
                                                            last r of them about the mean

Whoever averages weights changes what the layers see: batch normalization needs new statistics
(`update_batch_norm`) before the averaged network predicts.
"""

from __future__ import annotations

from collections import deque
from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from sgdlib import _check
from sgdlib.deep._as_found import frozen, modes_as_found, random_numbers
from sgdlib.deep._models import check_model, device_of
from sgdlib.deep._tensors import check_data
from sgdlib.deep.loop import Moment
from sgdlib.deep.sampler import draw_seed

__all__ = ["SWA", "SWAG", "update_batch_norm"]


class SWA:
    """Stochastic weight averaging: the running mean of snapshots of a run, a hook of `train`.

    Parameters
    ----------
    model
        The network that will be trained; only its snapshots enter.
    start
        Progress, in epochs, from which on snapshots are taken: when the run has settled.
    every
        Steps between two snapshots; None: one after each epoch.

    Attributes
    ----------
    averaged
        Torch's `AveragedModel`; its ``module`` has the mean weights, and the buffers of the last
        snapshot.

    Raises
    ------
    ValueError, TypeError
        If the model is none, or a number is out of range.

    Notes
    -----
    The mean is of weights, not of predictions: it is for snapshots of one run in one valley. A
    hook's state is not part of a checkpoint of `train`: save `state_dict()` beside it.

    Izmailov et al. (2018), arXiv:1803.05407. Derived in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> from sgdlib.deep import train
    >>> X = torch.linspace(-1, 1, 64).view(64, 1)
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> model = nn.Linear(1, 1)
    >>> swa = SWA(model, start=5)
    >>> data = (X, 3 * X[:, 0])
    >>> _ = train(model, squares, data, batch_size=8, epochs=8, lr=0.5, hook=swa, rng=0)
    >>> swa.count, round(swa.averaged.module.weight.item(), 2)
    (4, 3.0)
    """

    def __init__(self, model: nn.Module, *, start: float = 0, every: int | None = None):
        check_model(model)
        self.start = _check.number("start", start, at_least=0)
        self.every = _check.optional("every", every)
        with torch.no_grad():
            self.averaged = AveragedModel(model)

    @property
    def count(self) -> int:
        """The number of snapshots taken."""
        return int(self.averaged.n_averaged)

    def __call__(self, moment: Moment) -> None:
        """Take a snapshot where one is due: what `train` calls."""
        after_epoch = moment.batch is None
        due = after_epoch if self.every is None else not after_epoch
        if due and moment.progress >= self.start and moment.step % (self.every or 1) == 0:
            self.collect(moment.model)

    def collect(self, model: nn.Module) -> None:
        """Take a snapshot of `model` now."""
        with torch.no_grad():
            self.averaged.update_parameters(model)

    def state_dict(self) -> dict:
        """Return what a checkpoint needs."""
        return {"averaged": self.averaged.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state`."""
        self.averaged.load_state_dict(state["averaged"])


class SWAG(SWA):
    """A normal law of the weights: mean, variances and a few directions of a run's snapshots.

    Half of its covariance is diagonal, half is that of the last `rank` snapshots about the mean of
    all; each half estimates the whole where it can, so their mean does too.

    Parameters
    ----------
    model, start, every
        As in `SWA`, which this is as well: the mean is `averaged`.
    rank
        Snapshots kept for the directions, at least 2; P numbers each.

    Notes
    -----
    Variances are summed as squared deviations from the running mean (Welford): a mean of squares
    less the square of the mean is mostly rounding in float32. The paper's deviations are from the
    mean at the time of each snapshot; here they are from the final one.

    Maddox et al. (2019), arXiv:1902.02476. Derived in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> swag = SWAG(model, rank=2)
    >>> for value in (1.0, 3.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     swag.collect(model)
    >>> swag.variances().tolist(), swag.sample(rng=0).weight.shape
    ([1.0, 1.0], torch.Size([1, 2]))
    """

    def __init__(
        self, model: nn.Module, *, rank: int = 20, start: float = 0, every: int | None = None
    ):
        super().__init__(model, start=start, every=every)
        self.rank = _check.integer("rank", rank, low=2)
        self._squares = torch.zeros_like(self._mean())  # summed deviations from the mean
        self._last = deque(maxlen=self.rank)

    def collect(self, model: nn.Module) -> None:
        """Take a snapshot of `model` now."""
        before, first = self._mean(), self.count == 0
        super().collect(model)
        theta = _vector(model).to(before.device)
        if not first:
            self._squares += (theta - before) * (theta - self._mean())
        self._last.append(theta)

    def variances(self) -> torch.Tensor:
        """Return the variance of each weight over the snapshots (divisor K), (P,)."""
        if self.count < 2:
            raise ValueError(f"SWAG: expected at least 2 snapshots, {self.count} were taken")
        return self._squares / self.count

    def sample(self, *, rng: int | np.random.Generator | None = None) -> nn.Module:
        """Return a copy of the network with weights drawn from the law.

        Its batch normalization, if there is any, needs `update_batch_norm`.

        Raises
        ------
        ValueError
            With fewer than 2 snapshots.
        """
        diagonal, mean = self.variances().sqrt(), self._mean()
        D = torch.stack(tuple(self._last)) - mean  # (r, P)
        generator = torch.Generator().manual_seed(draw_seed(rng))
        z = torch.randn(len(mean), generator=generator, dtype=mean.dtype).to(mean.device)
        w = torch.randn(len(D), generator=generator, dtype=mean.dtype).to(mean.device)
        theta = mean + (diagonal * z + w @ D / (len(D) - 1) ** 0.5) / 2**0.5
        drawn = deepcopy(self.averaged.module)
        with torch.no_grad():
            nn.utils.vector_to_parameters(theta, drawn.parameters())
        return drawn

    def state_dict(self) -> dict:
        """Return what a checkpoint needs."""
        own = {"squares": self._squares, "last": list(self._last)}
        return super().state_dict() | own

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state`."""
        super().load_state_dict(state)
        self._squares = state["squares"].clone()
        self._last = deque((theta.clone() for theta in state["last"]), maxlen=self.rank)

    def _mean(self):
        return _vector(self.averaged.module)


def _vector(model):
    """Return a copy of all parameters in one row."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def update_batch_norm(
    model: nn.Module,
    x: torch.Tensor,
    *,
    batch_size: int = 256,
    rng: int | np.random.Generator | None = None,
) -> None:
    """Give batch normalization the statistics of `x`, by torch's `update_bn`; no weight moves.

    Parameters
    ----------
    model
        Its modes are left as found; a layer set aside (in evaluation mode in a model in training
        mode, or frozen) keeps its statistics. Without batch normalization nothing happens.
    x
        Training inputs (N, ...). They are shuffled: sorted data would have batches of one kind,
        whose variances are too small.
    batch_size
        Torch weighs all batches alike, so only whole ones are used; of fewer than `batch_size`
        inputs, all at once.
    rng
        Seed or NumPy Generator for the order, and for dropout.

    Raises
    ------
    ValueError, TypeError
        If there is no model, or `x` is not a tensor of at least two inputs.

    Notes
    -----
    A pass over the data: weight averaging is not free for a network with batch normalization.
    Used in the chapter *Sampling the posterior*.
    """
    check_model(model)
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor of inputs, got {type(x).__name__}")
    check_data("x", x)
    batch_size = _check.integer("batch_size", batch_size, low=2)
    if len(x) < 2:
        raise ValueError(f"x: expected at least 2 inputs, got {len(x)}")
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    aside = [m for m in layers if frozen(m) or (model.training and not m.training)]
    kept = [(b, b.clone()) for m in aside for b in m.buffers()]
    device, rng = device_of(model, x.device), _check.generator(rng)
    size = min(batch_size, len(x))
    rows = torch.from_numpy(rng.permutation(len(x))[: len(x) // size * size]).to(x.device)
    with modes_as_found(model), random_numbers(device, draw_seed(rng)):
        update_bn((x[part] for part in rows.split(size)), model, device=device)
    for buffer, value in kept:
        buffer.copy_(value)
