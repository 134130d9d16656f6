"""The problem on which the tests of descent run, and the slowest of loops."""

import numpy as np
import pytest

from sgdlib import LeastSquares, minibatch_sgd

RNG = np.random.default_rng(11)
N, D = 37, 3
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=N)
PROBLEM = LeastSquares(X, Y)
ZERO = np.zeros(D)
RULES = [(0.0, False), (0.9, False), (0.9, True)]
rules = pytest.mark.parametrize(("momentum", "nesterov"), RULES)


def run(**change):
    """Run four epochs on the problem, with whatever is to be changed."""
    options = {"lr": 0.05, "batch_size": 8, "epochs": 4, "rng": 0, **change}
    return minibatch_sgd(options.pop("problem", PROBLEM), options.pop("theta", ZERO), **options)


def textbook(problem, theta, lr, plan, momentum=0.0, nesterov=False):
    """Return theta before each step and at the end, by the slowest of loops."""
    velocity, path = np.zeros(len(theta)), [np.array(theta, float)]
    for step, (indices, weights) in enumerate(plan):
        theta, g = path[-1], np.zeros(problem.dim)
        for i, w in zip(indices, weights, strict=True):
            g = g + w * problem.gradients(theta, [i])[0]
        velocity = momentum * velocity + g
        direction = g + momentum * velocity if nesterov else velocity
        rate = lr(step) if callable(lr) else lr
        path.append(theta - rate * direction)
    return np.array(path)
