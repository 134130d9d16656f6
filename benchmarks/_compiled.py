"""The compiled peers: plain loops that numba turns into machine code.

They say how far vectorised Python stays behind a loop without an interpreter. numba is needed for
nothing else; without it these comparisons are skipped.
"""

from __future__ import annotations

import numpy as np

try:
    from numba import njit
except ImportError:  # the loops below are then plain Python, and nobody times them
    njit = None
    compiled = lambda function: function  # noqa: E731
else:
    compiled = njit(fastmath=True, error_model="numpy")

PEER = "the same loop compiled by numba"
NEEDED = "numba is not installed (requirements-bench.txt)"


@compiled
def residual(x, y, theta):
    """Return x . theta - y."""
    value = -y
    for k in range(len(theta)):
        value += x[k] * theta[k]
    return value


@compiled
def step(X, y, theta, lr, batch, gradient):
    """Make one step of least squares, theta (d,) in place; `gradient` (d,) is room to work in."""
    gradient[:] = 0.0
    for i in batch:
        x = X[i]  # a row of its own: the compiler then knows that it is contiguous
        slope = residual(x, y[i], theta)
        for k in range(len(theta)):
            gradient[k] += slope * x[k]
    for k in range(len(theta)):
        theta[k] -= lr / len(batch) * gradient[k]


@compiled
def epoch(X, y, theta, lr, batch_size, order):
    """Make the steps of one epoch in the given order, theta in place; return the full loss."""
    gradient = np.empty_like(theta)
    for start in range(0, len(order), batch_size):
        step(X, y, theta, lr, order[start : start + batch_size], gradient)
    loss = 0.0
    for i in range(len(y)):
        loss += residual(X[i], y[i], theta) ** 2
    return loss / (2 * len(y))


@compiled
def replica_steps(X, y, theta, lr, indices):
    """Make the steps of `indices` (k, R, B) for the replicas theta (R, d), in place."""
    gradient = np.empty_like(theta[0])
    for j in range(len(indices)):
        for r in range(len(theta)):
            step(X, y, theta[r], lr, indices[j, r], gradient)


@compiled
def walk(theta, curvatures, spread, lr, steps, rng):
    """Let walkers theta (R, d) descend a bowl with normal noise of size `spread`, in place."""
    for _ in range(steps):
        for r in range(theta.shape[0]):
            for k in range(theta.shape[1]):
                noise = spread * rng.standard_normal()
                theta[r, k] -= lr * (curvatures[k] * theta[r, k] + noise)
