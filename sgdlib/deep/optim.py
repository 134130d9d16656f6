"""The plain update, Langevin dynamics, and the learning rates of an optimizer's groups."""

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
    Used in the chapter *Optimizers, and a recipe to start with*.

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


class SGLD(torch.optim.Optimizer):
    """Stochastic gradient Langevin dynamics: ``p <- p - lr (g + l2 p) + sqrt(2 lr T) xi``.

    The gradient g is that of the *mean* loss of a batch, as `train` makes it, and the posterior is
    exp(-N L) = exp(-L/T) with T = 1/N. So the factor N/B of the literature, which sums the losses
    of a batch and multiplies by N/B, is in g's mean and in T: its step epsilon is 2 lr/N.

    Parameters
    ----------
    params
        The tensors to train, or groups of them as in torch.
    lr
        Learning rate.
    temperature
        T, in units of the mean loss, >= 0: ``1/len(data)`` for the posterior.
    weight_decay
        l2: ``1/(N tau^2)`` for the prior Normal(0, tau^2) on every weight.
    rng
        Seed or NumPy Generator of the noise xi, which `state_dict` carries along: a run that is
        taken up from a checkpoint has the noise that it would have had.

    Raises
    ------
    ValueError, TypeError
        For parameters that are none, or not leaf tensors, each given once; for a bad number.

    Notes
    -----
    Welling and Teh (2011). Derived in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> theta = torch.zeros(4000, requires_grad=True)
    >>> optimizer = SGLD([theta], lr=0.1, temperature=0.5, rng=0)
    >>> for _ in range(50):
    ...     theta.grad = 2.0 * theta.detach()
    ...     optimizer.step()
    >>> exact = 0.5 / (2.0 * (1 - 0.1))
    >>> abs(theta.var().item() / exact - 1) < 4 * (2 / 4000) ** 0.5
    True
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict],
        lr: float,
        *,
        temperature: float,
        weight_decay: float = 0.0,
        rng: int | np.random.Generator | None = None,
    ):
        defaults = {
            "lr": _check.number("lr", lr, at_least=0),
            "temperature": _check.number("temperature", temperature, at_least=0),
            "weight_decay": _check.number("weight_decay", weight_decay, at_least=0),
        }
        seed = int(_check.generator(rng).integers(2**63))
        self._generator = torch.Generator().manual_seed(seed)
        given = _listed(params, "params")
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        if not all(isinstance(group, dict) for group in groups):
            raise TypeError("params: expected tensors, or dicts with 'params', got both")
        groups = [{**group, "params": _listed(group.get("params"), "params")} for group in groups]
        for group in groups:
            for name in defaults:
                _check.number(name, group.get(name, defaults[name]), at_least=0)
        _check_parameters([p for group in groups for p in group["params"]], "params")
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every parameter that has a gradient, and let it tremble."""
        if closure is not None:
            raise TypeError("closure: expected none, the noise is drawn once a step")
        for group in self.param_groups:
            lr, l2 = float(group["lr"]), group["weight_decay"]
            kick = math.sqrt(2 * lr * group["temperature"])
            for p in group["params"]:
                if (grad := p.grad) is None:
                    continue
                if l2:
                    grad = grad.add(p, alpha=l2)
                xi = torch.randn(p.shape, generator=self._generator, dtype=p.dtype)
                p.sub_(grad, alpha=lr).add_(xi.to(p.device), alpha=kick)

    def state_dict(self) -> dict:
        """Return torch's state of an optimizer, and that of the noise."""
        return super().state_dict() | {"noise": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a state."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "noise"})
        self._generator.set_state(state_dict["noise"].cpu())


def _listed(parameters, name="parameters"):
    one = torch.Tensor | np.ndarray | str | dict
    if isinstance(parameters, one) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"{name}: expected an iterable of tensors, got one {type(parameters).__name__}"
        )
    return list(parameters)


def _check_parameters(parameters, name="parameters"):
    if not parameters:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    for i, p in enumerate(parameters):
        if not isinstance(p, torch.Tensor):
            raise TypeError(f"{name}[{i}]: expected a tensor, got {type(p).__name__}")
        if not p.is_leaf:
            raise ValueError(f"{name}[{i}]: expected a leaf tensor, got the result of an operation")
    if len({id(p) for p in parameters}) < len(parameters):
        raise ValueError(f"{name}: expected each tensor once, got one of them twice")


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
