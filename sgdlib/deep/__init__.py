"""PyTorch: everything that trains a network."""

from sgdlib.deep.accumulation import accumulate_gradients
from sgdlib.deep.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from sgdlib.deep.evaluation import Evaluation, evaluate
from sgdlib.deep.history import History
from sgdlib.deep.indices import IndexBatches
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.memory import LivePeak, SavedBytes
from sgdlib.deep.timing import Timing, benchmark
from sgdlib.deep.training import train
from sgdlib.deep.updates import PlainSGD

__all__ = [
    "CheckpointError",
    "Evaluation",
    "History",
    "IndexBatches",
    "LivePeak",
    "PlainSGD",
    "SavedBytes",
    "TensorBatches",
    "Timing",
    "accumulate_gradients",
    "benchmark",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
