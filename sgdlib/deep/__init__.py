"""PyTorch: everything that trains a network."""

from sgdlib.deep.accumulation import accumulate_gradients
from sgdlib.deep.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from sgdlib.deep.curvature import HessianEigenvalues, hessian_eigenvalues, hessian_product
from sgdlib.deep.ensembles import Ensemble, EnsembleHistory, evaluate_ensemble, train_ensemble
from sgdlib.deep.evaluation import Evaluation, evaluate
from sgdlib.deep.history import History
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.loop import Moment, train_with
from sgdlib.deep.lr_range import RangeTest, lr_range_test
from sgdlib.deep.meters import LivePeak, SavedBytes
from sgdlib.deep.optim import PlainSGD
from sgdlib.deep.parallel import Processes, processes, train_parallel
from sgdlib.deep.sampler import IndexBatches
from sgdlib.deep.step import Step
from sgdlib.deep.synchronized import synchronize_batch_norm
from sgdlib.deep.timing import Timing, benchmark
from sgdlib.deep.training import train

__all__ = [
    "CheckpointError",
    "Ensemble",
    "EnsembleHistory",
    "Evaluation",
    "HessianEigenvalues",
    "History",
    "IndexBatches",
    "LivePeak",
    "Moment",
    "PlainSGD",
    "Processes",
    "RangeTest",
    "SavedBytes",
    "Step",
    "TensorBatches",
    "Timing",
    "accumulate_gradients",
    "benchmark",
    "evaluate",
    "evaluate_ensemble",
    "hessian_eigenvalues",
    "hessian_product",
    "load_checkpoint",
    "lr_range_test",
    "processes",
    "save_checkpoint",
    "synchronize_batch_norm",
    "train",
    "train_ensemble",
    "train_parallel",
    "train_with",
]
