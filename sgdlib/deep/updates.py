"""The plain update, written out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from sgdlib import _check


class PlainSGD:
    """The update ``theta <- theta - lr * g`` written out, with the interface of torch's optimizers.

    On a small network the bookkeeping of `torch.optim.SGD` takes as long as the rest of a step.

    Parameters
    ----------
    parameters
        The tensors to train.
    lr
        Learning rate.

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

    def __init__(self, parameters: Iterable[torch.Tensor], lr: float):
        lr = _check.number("lr", lr, at_least=0)
        self.param_groups = [{"params": list(parameters), "lr": lr}]

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
            set_lr([group], lr)


def set_lr(groups: Sequence[dict], lr: float) -> None:
    """Give every parameter group the same learning rate."""
    lr = _check.number("lr", lr, at_least=0)
    for group in groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
