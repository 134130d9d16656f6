"""`minibatch_sgd` on least squares against the listing of most tutorials, and compiled code.

20,000 examples, 20 parameters, ten shuffled epochs with the full loss after each, one thread. Run
it as ``python -m benchmarks.numpy_runs``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import SGDRegressor
from threadpoolctl import threadpool_limits

from benchmarks import _compiled
from benchmarks._measure import Result, Skipped, compare, report
from sgdlib import LeastSquares, minibatch_sgd

LISTING = "the usual listing"
LEAN_LISTING = "the usual listing without the batches' losses"
SKLEARN = "scikit-learn's SGDRegressor (compiled, B=1)"
GOALS = {8: 2.0, 32: 2.0, 128: 2.0, 1024: 1.5}  # batch size: times as fast as the usual listing
ROWS, DIM, EPOCHS, LR = 20_000, 20, 10, 0.01


def data(rows: int = ROWS, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, dim))
    return X, X @ rng.normal(size=dim) + rng.normal(size=rows)


def loss(theta, X, y):
    return np.mean((X @ theta - y) ** 2) / 2


def gradient(theta, X, y):
    return X.T @ (X @ theta - y) / len(y)


def listing(X, y, batch_size: int, epochs: int, rng, lr: float = LR, batch_losses: bool = True):
    """Index each batch, step, and note its loss, for which the residuals are computed again."""
    theta, history = np.zeros(X.shape[1]), []
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), batch_size):
            batch = order[start : start + batch_size]
            X_batch, y_batch = X[batch], y[batch]
            theta = theta - lr * gradient(theta, X_batch, y_batch)
            if batch_losses:
                history.append(loss(theta, X_batch, y_batch))
        history.append(loss(theta, X, y))
    return theta, history


def compiled(X, y, batch_size: int, epochs: int, rng, lr: float = LR):
    theta, order = np.zeros(X.shape[1]), np.arange(len(X))
    losses = []
    for _ in range(epochs):
        order = rng.permuted(order)
        losses.append(_compiled.epoch(X, y, theta, lr, batch_size, order))
    return theta, losses


def sklearn_run(X, y, epochs: int) -> None:
    model = SGDRegressor(
        penalty=None,
        fit_intercept=False,
        learning_rate="constant",
        eta0=LR,
        max_iter=epochs,
        tol=None,
        random_state=0,
    )
    model.fit(X, y)


def measure(batch_size: int) -> list[Result | Skipped]:
    """Compare ten epochs at one batch size with each peer."""
    X, y = data()
    problem, start = LeastSquares(X, y), np.zeros(DIM)
    name = f"minibatch_sgd, B={batch_size}"

    def ours():
        minibatch_sgd(problem, start, lr=LR, batch_size=batch_size, epochs=EPOCHS, rng=0)

    def against(peer, program, goal=None):
        return Result.faster(name, peer, compare(ours, program, repeats=11), goal)

    def plain(batch_losses):
        rng = np.random.default_rng(0)
        return lambda: listing(X, y, batch_size, EPOCHS, rng, batch_losses=batch_losses)

    results = []
    if batch_size in GOALS:
        results.append(against(LISTING, plain(True), GOALS[batch_size]))
        results.append(against(LEAN_LISTING, plain(False)))
    if batch_size in (1, 32):
        results.append(against(SKLEARN, lambda: sklearn_run(X, y, EPOCHS)))
    if _compiled.njit is None:
        results.append(Skipped(f"{name}, compiled", _compiled.NEEDED))
    else:
        rng = np.random.default_rng(0)
        program = lambda: compiled(X, y, batch_size, EPOCHS, rng)  # noqa: E731
        results.append(against(_compiled.PEER, program))
    return results


def main(argv: Sequence[str] | None = None) -> None:
    with threadpool_limits(1):
        results = [r for batch_size in (1, *GOALS) for r in measure(batch_size)]
    report("Runs in NumPy", results, argv)


if __name__ == "__main__":
    main()
