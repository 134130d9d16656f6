"""What looks at a run and moves a knob: small, stateful, apart from the schedules.

A schedule is fixed before the run; a controller is told a loss or gradients now and then, and
reacts. `sgdlib.minibatch_sgd` takes one wherever it takes a number: as `lr`, as `batch_size`, or
the same one as both. It then has an attribute of that name, the value to use now; a method
`update`; and `looks_at`, which says what `update` is told:

``"loss"``
    the full loss, at each record but the first; or, if the controller has a function `watch`, what
    that makes of theta (d,).
``"gradients"``
    the gradients (B, d) of the examples of each batch, after its step. The short batch at the end
    of an epoch is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sgdlib import _check


class ReduceOnPlateau:
    """Lower the learning rate when the loss has not improved for a while.

    Parameters
    ----------
    lr
        Learning rate to begin with.
    factor
        The rate is multiplied by this, 0 < factor < 1.
    patience
        How many losses in a row may fail to improve: one more, and the rate is lowered, and the
        count starts anew.
    tolerance
        An improvement is a loss below the best one so far minus this, in the units of the loss. It
        is a difference and not a ratio, so negative losses are no trouble.
    minimum
        The rate does not go below this.
    watch
        The loss to look at in a run, as a function of theta (d,): of other examples, say. Without
        it, the full loss.

    Attributes
    ----------
    lr
        The learning rate to use now.
    best
        The lowest loss so far.
    waited
        Losses in a row that did not improve on it.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Used in the chapter *Schedules and the range test*.
    `torch.optim.lr_scheduler.ReduceLROnPlateau` with ``threshold_mode="abs"`` and
    ``threshold=tolerance`` makes the same decisions.

    Examples
    --------
    >>> controller = ReduceOnPlateau(0.4, patience=1)
    >>> [controller.update(loss) for loss in (2.0, 1.0, 1.1, 1.2, 1.3)]
    [0.4, 0.4, 0.4, 0.2, 0.2]
    """

    looks_at = "loss"

    def __init__(
        self,
        lr: float,
        *,
        factor: float = 0.5,
        patience: int = 10,
        tolerance: float = 0.0,
        minimum: float = 0.0,
        watch: Callable[[np.ndarray], float] | None = None,
    ):
        self.lr = _check.number("lr", lr, above=0)
        self.factor = _check.number("factor", factor, above=0, below=1)
        self.patience = _check.integer("patience", patience, low=0)
        self.tolerance = _check.number("tolerance", tolerance, at_least=0)
        self.minimum = _check.number("minimum", minimum, at_least=0, at_most=self.lr)
        self.watch = None if watch is None else _check.function("watch", watch)
        self.best, self.waited = math.inf, 0

    def update(self, loss: float) -> float:
        """Take notice of a loss, and return the learning rate to go on with.

        A loss that is not a number counts as no improvement.
        """
        loss = _check.real("loss", loss)
        if loss < self.best - self.tolerance:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.lr, self.waited = max(self.minimum, self.lr * self.factor), 0
        return self.lr


class NormTest:
    r"""Let the batch grow when its gradient drowns in its own noise.

    A batch gradient g that is the mean of K parts has the estimated variance::

        V = sum_j |part_j - g|^2 / (K (K - 1)),

    and passes the test if ``V <= theta^2 |g|^2``. If not, the batch becomes as large as would have
    passed, ``B V / (theta^2 |g|^2)``, rounded up: V falls as 1/B.

    Parameters
    ----------
    batch_size
        Batch size to begin with.
    theta
        Noise allowed, as a fraction of the gradient's length, > 0.
    maximum
        The batch does not grow beyond this.

    Attributes
    ----------
    batch_size
        The batch size to use now.
    ratio
        ``V/|g|^2`` at the last test; NaN before the first.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Byrd, Chin, Nocedal and Wu (2012), without the factor (N - B)/(N - 1) for a subset of N; De et
    al. (2017), arXiv:1610.05792. In the mean ``|g|^2`` itself contains V, beside the squared length
    of the true gradient. Where that is negligible and the dimension large, ``V/|g|^2`` is about 1:
    with theta < 1 the batch then grows at every test, with theta > 1 hardly ever. Used in the
    chapter *Simulated annealing by batch size*.

    Examples
    --------
    >>> test = NormTest(2, theta=0.5)
    >>> test.update([[1.0, 1.0], [3.0, 1.0]])  # g = (2, 1), V = 1 <= 5/4
    2
    >>> test.update([[1.0, 1.0], [-3.0, 1.0]])  # g = (-1, 1), V = 4 > 2/4
    16
    """

    looks_at = "gradients"

    def __init__(self, batch_size: int, *, theta: float = 0.5, maximum: int | None = None):
        self.batch_size = _check.integer("batch_size", batch_size)
        self.theta = _check.number("theta", theta, above=0)
        self.maximum = math.inf
        if maximum is not None:
            self.maximum = _check.integer("maximum", maximum, low=self.batch_size)
        self.ratio = math.nan

    def update(self, parts: np.ndarray) -> int:
        """Test one batch, and return the batch size to go on with.

        Parameters
        ----------
        parts
            (K, d), K >= 2: the gradients of the B examples of the batch, or of the equal
            micro-batches into which it was cut. A torch tensor on the CPU will do.
        """
        parts = _check.array("parts", parts, ndim=2)
        if len(parts) < 2:
            raise ValueError(f"parts: expected at least 2 gradients, got shape {parts.shape}")
        parts = parts.astype(np.float64, copy=False)
        g = parts.mean(axis=0)
        variance = np.square(parts - g).sum() / (len(parts) * (len(parts) - 1))
        square = float(g @ g)
        self.ratio = variance / square if square else (math.inf if variance else 0.0)
        wanted = self.batch_size * self.ratio / self.theta**2
        if wanted > self.batch_size:
            if wanted == math.inf == self.maximum:
                raise ValueError("parts: their mean is zero, expected maximum= to be given as well")
            self.batch_size = math.ceil(min(wanted, self.maximum))
        return self.batch_size
