r"""How sharply a network's loss bends: the largest eigenvalues of its Hessian.

The Hessian H of the mean loss has one row per parameter and is never formed. Its product with a
vector is a derivative of a gradient, ``H v = grad (grad L . v)``, and Lanczos iteration needs
nothing but such products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sgdlib import _check
from sgdlib.deep import _inputs
from sgdlib.deep.accumulation import Loss, check_losses


@dataclass(frozen=True)
class HessianEigenvalues:
    """The largest eigenvalues of a Hessian, in falling order, and how well they solve the problem.

    Attributes
    ----------
    eigenvalues
        (k,) largest eigenvalues: the most positive ones, not the largest in magnitude.
    residuals
        (k,) norms ``|H v - lambda v|`` for the unit eigenvectors found.
    eigenvectors
        (k, P), one row per eigenvalue, over all P parameters that ask for a gradient, in the order
        of `parameters()`.
    products
        Number of Hessian-vector products used.
    converged
        Whether every residual is below the tolerance.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    eigenvectors: np.ndarray
    products: int
    converged: bool


def hessian_product(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    vector: torch.Tensor,
    *,
    batch_size: int = 4096,
) -> torch.Tensor:
    """Return the Hessian of the mean loss over `data` times `vector` (P,).

    Parameters
    ----------
    model
        Evaluated as it is: put it into evaluation mode first (dropout and batch normalisation have
        no single Hessian in training mode).
    loss
        Function of outputs and targets that returns one loss per example.
    data
        Inputs and targets, on the model's device.
    vector
        (P,), P being the number of parameters that ask for a gradient.
    batch_size
        Examples differentiated at once: bounds the memory, does not change the result.

    Notes
    -----
    Pearlmutter (1994). Used in the chapter *Flat minima and implicit regularization*.
    """
    parameters = _trained(model)
    sizes = [p.numel() for p in parameters]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"vector: expected shape ({sum(sizes)},), got {tuple(vector.shape)}")
    directions = [v.view_as(p) for v, p in zip(vector.split(sizes), parameters, strict=True)]
    product = torch.zeros_like(vector)
    for part in zip(*(t.split(batch_size) for t in data), strict=True):
        losses = loss(model(part[0]), *part[1:])
        check_losses(losses, (len(part[0]),))
        mean = losses.sum() / len(data[0])
        gradients = torch.autograd.grad(mean, parameters, create_graph=True, materialize_grads=True)
        along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
        if not along.requires_grad:  # the gradient is constant: no curvature in this part
            continue
        second = torch.autograd.grad(along, parameters, materialize_grads=True)
        product += torch.cat([s.flatten() for s in second]).detach()
    return product


def _trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that ask for a gradient; a frozen layer has none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model: expected parameters that ask for a gradient, got none")
    return parameters


def hessian_eigenvalues(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    k: int = 1,
    *,
    tol: float = 1e-3,
    batch_size: int = 4096,
    rng: int | np.random.Generator | None = None,
) -> HessianEigenvalues:
    """Return the k largest Hessian eigenvalues of the mean loss over all of `data`.

    Parameters
    ----------
    model, loss, data, batch_size
        As in `hessian_product`; the model is put into evaluation mode for the while.
    k
        How many, at most the number of parameters.
    tol
        Relative accuracy asked of each eigenvalue.
    rng
        Seed or Generator for the start vector; the result depends on it to `tol` only.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data.
    ArithmeticError
        If two evaluations of the same product differ: something in the model is random.

    Notes
    -----
    Lanczos iteration with restarts (ARPACK), asking for the algebraically largest end of the
    spectrum; power iteration would return the largest in magnitude, which may be negative. Used in
    the chapter *Flat minima and implicit regularization*.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> found = hessian_eigenvalues(model, squares, (X, torch.zeros(2)), rng=0)
    >>> found.eigenvalues.round(4), found.converged
    (array([4.5]), True)
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    _inputs.check_data("data", data)
    tol = _check.number("tol", tol, above=0, below=1)
    batch_size = _check.integer("batch_size", batch_size)
    parameters = _trained(model)
    count = sum(p.numel() for p in parameters)
    k = _check.integer("k", k, high=count)
    device, dtype = parameters[0].device, parameters[0].dtype
    data = [t.to(device) for t in data]
    products = 0

    def times(v):
        nonlocal products
        products += 1
        vector = torch.as_tensor(np.asarray(v).reshape(-1), dtype=dtype, device=device)
        result = hessian_product(model, loss, data, vector, batch_size=batch_size)
        return result.double().cpu().numpy()

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        start = _check.generator(rng).standard_normal(count)
        first, again = times(start), times(start)
        if not np.allclose(first, again, rtol=1e-3, atol=1e-5 * np.abs(first).max()):
            raise ArithmeticError(
                "two evaluations of the same Hessian product differ: is something in the model "
                "random (dropout)?"
            )
        if count <= max(20, 2 * k + 1):  # too few for Lanczos: the matrix itself
            matrix = np.array([times(e) for e in np.eye(count)])
            values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
            values, vectors = values[-k:], vectors[:, -k:]
        elif not first.any():  # of a random vector: there is no curvature at all
            values, vectors = np.zeros(k), np.eye(count)[:, :k]
        else:
            operator = LinearOperator((count, count), matvec=times, dtype=np.float64)
            values, vectors = eigsh(operator, k=k, which="LA", tol=tol / 10, v0=start)
        order = np.argsort(values)[::-1]
        values, vectors = values[order], vectors[:, order].T
        residuals = np.array(
            [np.linalg.norm(times(v) - x * v) for x, v in zip(values, vectors, strict=True)]
        )
    finally:
        for module, training in modes.items():
            module.training = training
    scale = max(np.abs(values).max(), np.finfo(float).tiny)
    converged = bool((residuals <= np.sqrt(tol) * scale).all())
    return HessianEigenvalues(values, residuals, vectors, products, converged)
