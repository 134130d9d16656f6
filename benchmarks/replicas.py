"""200 runs at once against one after another, and many walkers in a noisy bowl.

Least squares with 2,000 examples and 20 parameters, each replica with batches of its own; and
additive noise in 2 dimensions. One thread. Run it as ``python -m benchmarks.replicas``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import _compiled
from benchmarks._measure import Result, Skipped, compare, report
from benchmarks.numpy_runs import data, gradient, loss
from sgdlib import LeastSquares, NoisyQuadratic, minibatch_sgd
from sgdlib.batching import index_blocks

ALONE = "minibatch_sgd, one run after another"
LISTING = "the usual listing, one run after another"
REPLICAS, ROWS, DIM, LR = 200, 2_000, 20, 0.01
CASES = {1: (2000, 15), 8: (1000, 8), 32: (500, 4), 128: (250, 1.6)}  # batch size: steps, goal
LISTING_GOAL, COMPILED_GOAL, RESHUFFLED_GOAL = 12, 0.5, 3
WALKERS, WALK_STEPS, WALKERS_GOAL = 20_000, 300, 80
SHARE = 100  # of the walkers only one in so many goes alone: all of them would take half a minute
CURVATURES, SPREAD, WALK_LR = np.array([1.0, 0.25]), 1.0, 0.1


def listing(X, y, batch_size: int, steps: int, rng, lr: float = LR):
    """Draw and index each batch, step, and note the batch's loss."""
    theta, history = np.zeros(X.shape[1]), []
    for _ in range(steps):
        batch = rng.integers(0, len(X), batch_size)
        X_batch, y_batch = X[batch], y[batch]
        theta = theta - lr * gradient(theta, X_batch, y_batch)
        history.append(loss(theta, X_batch, y_batch))
    return theta, history


def compiled(X, y, batch_size: int, steps: int, rng, replicas: int = REPLICAS, lr: float = LR):
    """Draw the indices as sgdlib does, and make the steps in machine code."""
    theta = np.zeros((replicas, X.shape[1]))
    plan = index_blocks(
        len(X), batch_size, sampling="replacement", steps=steps, rng=rng, replicas=replicas
    )
    for block in plan:
        _compiled.replica_steps(X, y, theta, lr, block.indices)
    return theta


def measure(batch_size: int, steps: int, goal: float) -> list[Result | Skipped]:
    """Compare 200 runs with replacement with each peer."""
    X, y = data(ROWS, DIM)
    problem, rng = LeastSquares(X, y), np.random.default_rng(0)
    options = {"lr": LR, "batch_size": batch_size, "steps": steps, "record": steps}
    name = f"200 replicas, B={batch_size}"

    def together(sampling="replacement"):
        minibatch_sgd(problem, np.zeros((REPLICAS, DIM)), sampling=sampling, rng=rng, **options)

    def alone(sampling="replacement"):
        for _ in range(REPLICAS):
            minibatch_sgd(problem, np.zeros(DIM), sampling=sampling, rng=rng, **options)

    def listings():
        for _ in range(REPLICAS):
            listing(X, y, batch_size, steps, rng)

    results = [Result.faster(name, ALONE, compare(together, alone, repeats=7), goal)]
    if batch_size == 32:
        comparison = compare(lambda: together("reshuffle"), lambda: alone("reshuffle"), repeats=7)
        results.append(Result.faster(f"{name}, reshuffled", ALONE, comparison, RESHUFFLED_GOAL))
        comparison = compare(together, listings, repeats=7)
        results.append(Result.faster(name, LISTING, comparison, LISTING_GOAL))
    if _compiled.njit is None:
        results.append(Skipped(f"{name}, compiled", _compiled.NEEDED))
    else:
        comparison = compare(together, lambda: compiled(X, y, batch_size, steps, rng))
        goal = COMPILED_GOAL if batch_size >= 32 else None
        results.append(Result.faster(name, _compiled.PEER, comparison, goal))
    return results


def measure_walkers() -> list[Result | Skipped]:
    """Compare walkers with additive noise: all at once, one by one, and compiled."""
    bowl, rng = NoisyQuadratic(CURVATURES, SPREAD**2), np.random.default_rng(0)
    options = {"lr": WALK_LR, "batch_size": 1, "steps": WALK_STEPS, "record": WALK_STEPS}

    def together():
        minibatch_sgd(bowl, np.zeros((WALKERS, 2)), rng=rng, **options)

    def some_alone():
        for _ in range(WALKERS // SHARE):
            minibatch_sgd(bowl, np.zeros(2), rng=rng, **options)

    def compiled_walk():
        theta = np.zeros((WALKERS, 2))
        _compiled.walk(theta, CURVATURES, SPREAD, WALK_LR, WALK_STEPS, rng)

    comparison = compare(together, some_alone).scaled(SHARE)
    name = "20,000 walkers in 2 dimensions"
    peer = f"minibatch_sgd, walker after walker (1 in {SHARE} timed)"
    results = [Result.faster(name, peer, comparison, WALKERS_GOAL)]
    if _compiled.njit is None:
        return [*results, Skipped(f"{name}, compiled", _compiled.NEEDED)]
    return [*results, Result.faster(name, _compiled.PEER, compare(together, compiled_walk))]


def main(argv: Sequence[str] | None = None) -> None:
    with threadpool_limits(1):
        results = [r for b, (steps, goal) in CASES.items() for r in measure(b, steps, goal)]
        results += measure_walkers()
    report("Many runs at once", results, argv)


if __name__ == "__main__":
    main()
