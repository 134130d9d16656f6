"""What chapters use to show things: figures, live figures, claims and data sets.

Only chapters and tests import this package; it needs Matplotlib and IPython.
"""

from sgdlib.book.claims import ClaimError, claim, quote
from sgdlib.book.datasets import (
    Split,
    load_airfoil,
    load_digits,
    load_gpu_recording,
    load_mnist1d,
)
from sgdlib.book.explore import explore, interval
from sgdlib.book.figures import COLORS, begin, ramp, show

__all__ = [
    "COLORS",
    "ClaimError",
    "Split",
    "begin",
    "claim",
    "explore",
    "interval",
    "load_airfoil",
    "load_digits",
    "load_gpu_recording",
    "load_mnist1d",
    "quote",
    "ramp",
    "show",
]
