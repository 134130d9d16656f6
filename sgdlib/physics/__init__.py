"""SGD as physics: temperature, barriers, annealing, posteriors. The core imports none of it."""

from sgdlib._lazy import lazy as _lazy

__getattr__, __dir__ = _lazy(__name__)
