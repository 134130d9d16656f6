"""The plain update, written out, and the learning rates of an optimizer's groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from sgdlib import _check


class PlainSGD:
    """The update ``theta <- theta - lr * g`` written out, with the interface of torch's optimizers.

    On a small network the bookkeeping of `torch.optim.SGD` takes as long as the rest of a step.

    Parameters
    ----------
    parameters
        The tensors to train, or groups of them as in torch: dicts with ``"params"`` and, where it
        differs, ``"lr"``.
    lr
        Learning rate.

    Raises
    ------
    ValueError, TypeError
        For parameters that are none, or not leaf tensors, each given once; for a bad rate.

    Notes
    -----
    Used in the chapter *The training loop*.

    Examples
    --------
    >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = PlainSGD([theta], lr=0.5)
    >>> (theta**2).sum().backward()
    >>> optimizer.step()
    >>> theta.tolist()
    [0.0, 0.0]
    """

    def __init__(self, parameters: Iterable[torch.Tensor] | Iterable[dict], lr: float):
        lr = _check.number("lr", lr, at_least=0)
        given = _listed(parameters)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.param_groups = []
        for i, group in enumerate(groups):
            if not (isinstance(group, dict) and {"params"} <= {*group} <= {"params", "lr"}):
                raise ValueError(f"parameters[{i}]: expected a dict of 'params' and 'lr'")
            rate = _check.number("lr", group.get("lr", lr), at_least=0)
            self.param_groups.append({"params": _listed(group["params"]), "lr": rate})
        _check_parameters([p for group in self.param_groups for p in group["params"]])

    def step(self) -> None:
        """Subtract `lr` times the gradient from every parameter that has one."""
        for group in self.param_groups:
            lr = group["lr"]
            for p in group["params"]:
                if (grad := p.grad) is None:
                    continue
                if isinstance(lr, torch.Tensor):  # a captured graph reads it anew each time
                    p.data.addcmul_(grad, lr, value=-1)
                else:
                    p.data.sub_(grad, alpha=lr)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict:
        """Return the learning rates: there is no other state."""
        return {"lrs": [float(group["lr"]) for group in self.param_groups]}

    def load_state_dict(self, state: dict) -> None:
        """Set the learning rates."""
        for group, lr in zip(self.param_groups, state["lrs"], strict=True):
            set_lr([group], _check.number("lr", lr, at_least=0))


def _listed(parameters):
    one = torch.Tensor | np.ndarray | str | dict
    if isinstance(parameters, one) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters: expected an iterable of tensors, got one {type(parameters).__name__}"
        )
    return list(parameters)


def _check_parameters(parameters):
    if not parameters:
        raise ValueError("parameters: expected at least one tensor, got none")
    for i, p in enumerate(parameters):
        if not isinstance(p, torch.Tensor):
            raise TypeError(f"parameters[{i}]: expected a tensor, got {type(p).__name__}")
        if not p.is_leaf:
            raise ValueError(
                f"parameters[{i}]: expected a leaf tensor, got the result of an operation"
            )
    if len({id(p) for p in parameters}) < len(parameters):
        raise ValueError("parameters: expected each tensor once, got one of them twice")


def set_lr(groups: Sequence[dict], lr: float) -> None:
    """Give parameter groups a learning rate; one that is a tensor is written into."""
    for group in groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class Rates:
    """The learning rates of an optimizer's groups, which keep their ratio to the first group's.

    Parameters
    ----------
    optimizer
        Any object with torch's `param_groups`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self._optimizer = optimizer
        self._found = self.now()
        self._objects = [group["lr"] for group in optimizer.param_groups]

    def now(self) -> list[float]:
        """Return the rates, one for each group."""
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def check_ratios(self) -> None:
        """Raise unless the first group has a rate to which the others can keep their ratio."""
        if not self._found[0] and any(self._found):
            raise ValueError(
                "optimizer: expected a first group with lr > 0, to which the others keep their "
                f"ratio, got the rates {', '.join(f'{rate:g}' for rate in self._found)}"
            )

    def set(self, lr: float) -> None:
        """Give the first group the rate `lr`, and the others theirs in proportion."""
        first, groups = self._found[0], self._optimizer.param_groups
        for group, rate in zip(groups, self._found, strict=True):
            set_lr([group], lr if rate == first else lr * (rate / first))

    def put_back(self, *, values: bool) -> None:
        """Give each group the object with which it came, a number or a tensor; its value too."""
        each = zip(self._optimizer.param_groups, self._objects, self._found, strict=True)
        for group, came_as, found in each:
            rate = float(group["lr"])
            group["lr"] = came_as
            same = math.isclose(rate, found, rel_tol=1e-6)  # but for the rounding of a tensor
            set_lr([group], found if values or same else rate)
