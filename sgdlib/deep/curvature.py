r"""How sharply a network's loss bends: the largest eigenvalues of its Hessian.

The Hessian H of the mean loss has one row per parameter and is never formed. Its product with a
vector is a derivative of a gradient, ``H v = grad (grad L . v)``, and Lanczos iteration needs
nothing but such products.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep._as_found import buffers_as_found, evaluating, random_numbers
from sgdlib.deep._fit import check_fit
from sgdlib.deep._losses import Loss, check_losses
from sgdlib.deep._models import check_model, check_shaped, trained_parameters
from sgdlib.deep._second_derivatives import check_second_derivatives, differentiable_twice
from sgdlib.deep._tensors import check_data

_RESTARTS = 300


@dataclass(frozen=True)
class HessianEigenvalues:
    """The largest eigenvalues of a Hessian, in falling order, and how well they solve the problem.

    Attributes
    ----------
    eigenvalues
        (k,) largest eigenvalues: the most positive ones, not the largest in magnitude; one that is
        repeated in H is repeated here.
    residuals
        (k,) norms ``|H v - lambda v|`` for the unit eigenvectors found.
    eigenvectors
        (k, P), one row per eigenvalue, over all P parameters that ask for a gradient, in the order
        of `parameters()`.
    products
        Number of Hessian-vector products used.
    converged
        Whether every residual is at most `tol` times the scale of H, and a search in what is
        orthogonal to the eigenvectors found no further eigenvalue above the last of these.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    eigenvectors: np.ndarray
    products: int
    converged: bool


def hessian_product(
    model: nn.Module,
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
        Evaluated as it is: put it into evaluation mode first (dropout and batch normalization have
        no single Hessian in training mode).
    loss
        Function of outputs and targets that returns one loss per example.
    data
        Inputs and targets; moved to the model's device.
    vector
        (P,), P being the number of parameters that ask for a gradient.
    batch_size
        Examples differentiated at once: bounds the memory, does not change the result.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, or a layer that cannot be differentiated twice, by its name.

    Notes
    -----
    Pearlmutter (1994). Attention and recurrent layers run by kernels that have second derivatives.
    Used in the chapter *Flat minima and implicit regularization*.
    """
    parameters, data = _check_inputs(model, loss, data)
    batch_size = _check.integer("batch_size", batch_size, high=sys.maxsize)
    count = sum(p.numel() for p in parameters)
    if not isinstance(vector, torch.Tensor) or not vector.is_floating_point():
        got = vector.dtype if isinstance(vector, torch.Tensor) else type(vector).__name__
        raise TypeError(f"vector: expected a torch.Tensor of floating-point numbers, got {got}")
    if vector.shape != (count,):
        raise ValueError(f"vector: expected shape ({count},), got {tuple(vector.shape)}")
    vector = vector.to(parameters[0].device)
    if not torch.isfinite(vector).all():
        raise ValueError("vector: expected finite numbers")
    with buffers_as_found(model), differentiable_twice(model):
        return _product(model, loss, data, parameters, vector, batch_size)


def _product(model, loss, data, parameters, vector, batch_size):
    sizes = [p.numel() for p in parameters]
    directions = [v.view_as(p) for v, p in zip(vector.split(sizes), parameters, strict=True)]
    product = torch.zeros_like(vector)
    for part in zip(*(t.split(batch_size) for t in data), strict=True):
        losses = loss(model(part[0]), *part[1:])
        check_losses(losses, len(part[0]))
        mean = losses.sum() / len(data[0])
        gradients = torch.autograd.grad(mean, parameters, create_graph=True, materialize_grads=True)
        along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
        if not along.requires_grad:  # the gradient is constant: no curvature in this part
            continue
        second = torch.autograd.grad(along, parameters, materialize_grads=True)
        product += torch.cat([s.flatten() for s in second]).detach()
    return product


def _check_inputs(model, loss, data):
    """Return the parameters that are asked about, and the data beside them, or raise."""
    check_model(model)
    check_shaped(model)
    parameters = trained_parameters(model)
    if any(p.is_complex() for p in parameters):
        raise TypeError("model: expected real parameters, got complex ones")
    data = check_data("data", data)
    check_fit("data", model, loss, data)
    data = [t.to(parameters[0].device) for t in data]
    with differentiable_twice(model):
        check_second_derivatives(model, loss, data, parameters)
    return parameters, data


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
        How far an eigenvalue may be from one of H: at most `tol` times the scale of H, which is the
        larger of the largest eigenvalue found, in absolute value, and the root mean square of all
        (estimated).
    rng
        Seed or Generator for the start vector; the result depends on it to `tol` only.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, or a layer that cannot be differentiated twice, by its name.
    ArithmeticError
        If two evaluations of the same product differ: something in the model is random. If a
        product is not finite.

    Notes
    -----
    Lanczos iteration with restarts (ARPACK), asking for the algebraically largest end of the
    spectrum; power iteration would return the largest in magnitude, which may be negative. Of a
    repeated eigenvalue one start shows one eigenvector, so with k > 1 the search is repeated from
    new starts orthogonal to what was found, until nothing larger comes up. Used in the chapter
    *Flat minima and implicit regularization*.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> found = hessian_eigenvalues(model, squares, (X, torch.zeros(2)), rng=0)
    >>> found.eigenvalues.round(4), found.converged
    (array([4.5]), True)
    """
    parameters, data = _check_inputs(model, loss, data)
    tol = _check.number("tol", tol, above=0, below=1)
    batch_size = _check.integer("batch_size", batch_size, high=sys.maxsize)
    count = sum(p.numel() for p in parameters)
    k = _check.integer("k", k, high=count)
    rng = _check.generator(rng)
    device, dtype = parameters[0].device, parameters[0].dtype
    products = 0

    def times(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        vector = torch.as_tensor(v, dtype=dtype, device=device)
        result = _product(model, loss, data, parameters, vector, batch_size)
        return result.double().cpu().numpy()

    with (
        evaluating(model),
        buffers_as_found(model),
        random_numbers(device),
        differentiable_twice(model),
    ):
        start = rng.standard_normal(count)
        first, again = times(start), times(start)
        if not np.isfinite(first).all():
            raise ArithmeticError("a Hessian product is not finite: are the parameters large?")
        if not np.allclose(first, again, rtol=1e-3, atol=1e-5 * np.abs(first).max()):
            raise ArithmeticError(
                "two evaluations of the same Hessian product differ: is something in the model "
                "random (dropout)?"
            )
        scale = float(np.linalg.norm(first) / np.linalg.norm(start))  # root mean square eigenvalue
        if count <= max(20, 2 * k + 1) or not scale:  # too few for Lanczos, or nothing to find
            vectors, complete = np.eye(count)[:, : count if scale else k], True
        else:
            vectors, complete = _largest(times, k, scale=scale, tol=tol, start=start, rng=rng)
        # the best eigenvectors within what was found (Rayleigh, Ritz)
        images = np.array([times(v) for v in vectors.T]).T
        within = vectors.T @ images
        values, mix = np.linalg.eigh((within + within.T) / 2)
        values, mix = values[::-1][:k], mix[:, ::-1][:, :k]
        vectors, images = vectors @ mix, images @ mix
    residuals = np.linalg.norm(images - values * vectors, axis=0)
    scale = max(np.abs(values).max(), scale)
    converged = complete and bool((residuals <= tol * scale).all())
    return HessianEigenvalues(values, residuals, vectors.T, products, converged)


def _largest(
    times: Callable[[np.ndarray], np.ndarray],
    k: int,
    *,
    scale: float,
    tol: float,
    start: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, bool]:
    """Return orthonormal columns that hold the k largest eigenvectors, and whether that is sure."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    count = len(start)

    def search(k, start, found, shift):
        """Return the k largest in what is orthogonal to `found`, of H + shift."""

        def apart(v):
            return v - found @ (found.T @ v)

        def shifted(v):
            v = apart(v.reshape(-1))
            return apart(times(v) + shift * v)

        operator = LinearOperator((count, count), matvec=shifted, dtype=np.float64)
        options = {"which": "LA", "tol": tol / 10, "maxiter": _RESTARTS}
        values, vectors = eigsh(operator, k=k, v0=apart(start), **options)
        return values - shift, vectors

    # ARPACK stops when a residual is small beside the eigenvalue: not where it should, if that is
    # nearly 0. Then, and where what was found is 0 in the rest, a shift makes the largest positive.
    found, shift = np.empty((count, 0)), 2 * scale
    try:
        values, found = search(k, start, found, 0.0)
    except ArpackNoConvergence:
        try:
            values, found = search(k, start, found, shift)
        except ArpackNoConvergence as error:
            raise ArithmeticError(
                f"the {k} largest eigenvalues could not be told from the next ones within "
                f"{_RESTARTS} restarts of Lanczos iteration; expected a larger tol than {tol:g}"
            ) from error
    while k > 1 or values.max() < scale / 10:
        found, _ = np.linalg.qr(found)
        try:
            more, vectors = search(1, rng.standard_normal(count), found, shift)
        except ArpackNoConvergence:
            return found, False
        if more[0] <= np.sort(values)[-k] + tol * scale:
            break
        values, found = np.append(values, more), np.column_stack([found, vectors])
    return found, True
