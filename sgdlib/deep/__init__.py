"""PyTorch: everything that trains a network."""

from sgdlib.deep.accumulation import accumulate_gradients
from sgdlib.deep.averaging import SWA, SWAG, update_batch_norm
from sgdlib.deep.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from sgdlib.deep.curvature import HessianEigenvalues, hessian_eigenvalues, hessian_product
from sgdlib.deep.ensembles import Ensemble, EnsembleHistory, evaluate_ensemble, train_ensemble
from sgdlib.deep.evaluation import Evaluation, evaluate
from sgdlib.deep.history import History
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.loop import Moment, train_with
from sgdlib.deep.lr_range import RangeTest, lr_range_test
from sgdlib.deep.meters import LivePeak, SavedBytes
from sgdlib.deep.optim import SGLD, PlainSGD
from sgdlib.deep.parallel import Processes, processes, train_parallel
from sgdlib.deep.points import DomainPoints, gauss_legendre
from sgdlib.deep.sampler import IndexBatches
from sgdlib.deep.step import Step
from sgdlib.deep.streaming import StreamDataset
from sgdlib.deep.synchronized import synchronize_batch_norm
from sgdlib.deep.timing import Timing, benchmark
from sgdlib.deep.training import train
from sgdlib.deep.vpinn import (
    Energy,
    SquaredResidual,
    WeakResiduals,
    ZeroBoundary,
    integrand,
    laplacian,
    product_of_means,
    squared_mean,
    value_and_gradient,
)

__all__ = [
    "SGLD",
    "SWA",
    "SWAG",
    "CheckpointError",
    "DomainPoints",
    "Energy",
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
    "SquaredResidual",
    "Step",
    "StreamDataset",
    "TensorBatches",
    "Timing",
    "WeakResiduals",
    "ZeroBoundary",
    "accumulate_gradients",
    "benchmark",
    "evaluate",
    "evaluate_ensemble",
    "gauss_legendre",
    "hessian_eigenvalues",
    "hessian_product",
    "integrand",
    "laplacian",
    "load_checkpoint",
    "lr_range_test",
    "processes",
    "product_of_means",
    "save_checkpoint",
    "squared_mean",
    "synchronize_batch_norm",
    "train",
    "train_ensemble",
    "train_parallel",
    "train_with",
    "update_batch_norm",
    "value_and_gradient",
]
