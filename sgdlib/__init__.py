"""Mini-batch stochastic gradient descent, small and clear: the companion library of the book.

The core needs NumPy (and SciPy, imported where it is used); `sgdlib.physics` is temperature,
barriers and annealing; `sgdlib.deep` trains networks with PyTorch; `sgdlib.book` is what the
chapters use to show things. Modules are imported when they are first named.
"""

from sgdlib._lazy import lazy as _lazy
from sgdlib.batching import Batch, batches, create_batches, iterations_per_epoch
from sgdlib.descent import DivergenceError, Trace, minibatch_sgd
from sgdlib.landscapes import DoubleWell, Saddle
from sgdlib.linear import LeastSquares, Logistic
from sgdlib.populations import NoisyQuadratic, Population
from sgdlib.problems import FiniteSum, from_arrays
from sgdlib.streaming import ArrayStream, ShardError

__version__ = "0.3.2"

__all__ = [
    "ArrayStream",
    "Batch",
    "DivergenceError",
    "DoubleWell",
    "FiniteSum",
    "LeastSquares",
    "Logistic",
    "NoisyQuadratic",
    "Population",
    "Saddle",
    "ShardError",
    "Trace",
    "batches",
    "create_batches",
    "from_arrays",
    "iterations_per_epoch",
    "minibatch_sgd",
]

__getattr__, __dir__ = _lazy(__name__)
