"""Mini-batch stochastic gradient descent, small and clear: the companion library of the book.

The core needs NumPy (and SciPy, imported where it is used); `sgdlib.deep` trains networks with
PyTorch; `sgdlib.book` is what the chapters use to show things.
"""

from sgdlib.batching import Batch, batches, create_batches, iterations_per_epoch
from sgdlib.descent import DivergenceError, Trace, minibatch_sgd
from sgdlib.populations import DoubleWell, NoisyQuadratic, Population, Saddle
from sgdlib.problems import FiniteSum, LeastSquares, Logistic, from_arrays

__all__ = [
    "Batch",
    "DivergenceError",
    "DoubleWell",
    "FiniteSum",
    "LeastSquares",
    "Logistic",
    "NoisyQuadratic",
    "Population",
    "Saddle",
    "Trace",
    "batches",
    "create_batches",
    "from_arrays",
    "iterations_per_epoch",
    "minibatch_sgd",
]
