"""What looks at the losses and moves a knob: small, stateful, apart from the schedules.

A schedule is fixed before the run; a controller is told a loss now and then, and reacts.
"""

from __future__ import annotations

import math

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
    Used in the chapter *The learning rate*. `torch.optim.lr_scheduler.ReduceLROnPlateau` with
    ``threshold_mode="abs"`` and ``threshold=tolerance`` makes the same decisions.

    Examples
    --------
    >>> controller = ReduceOnPlateau(0.4, patience=1)
    >>> [controller.update(loss) for loss in (2.0, 1.0, 1.1, 1.2, 1.3)]
    [0.4, 0.4, 0.4, 0.2, 0.2]
    """

    def __init__(
        self,
        lr: float,
        *,
        factor: float = 0.5,
        patience: int = 10,
        tolerance: float = 0.0,
        minimum: float = 0.0,
    ):
        self.lr = _check.number("lr", lr, above=0)
        self.factor = _check.number("factor", factor, above=0, below=1)
        self.patience = _check.integer("patience", patience, low=0)
        self.tolerance = _check.number("tolerance", tolerance, at_least=0)
        self.minimum = _check.number("minimum", minimum, at_least=0, at_most=self.lr)
        self.best, self.waited = math.inf, 0

    def update(self, loss: float) -> float:
        """Take notice of a loss, and return the learning rate to go on with.

        A loss that is not a number counts as no improvement.
        """
        if loss < self.best - self.tolerance:
            self.best, self.waited = float(loss), 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.lr, self.waited = max(self.minimum, self.lr * self.factor), 0
        return self.lr
