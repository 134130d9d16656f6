"""Valid calls of what `sgdlib.deep` and `sgdlib.book` offer, for the walk of `public_edges`."""

import inspect
import tempfile
from pathlib import Path

import numpy as np
import torch
from public_edges import Call
from torch import nn

from sgdlib import book, deep
from sgdlib.book.datasets import load_airfoil, load_digits
from sgdlib.deep import curvature, ensembles, evaluation, lr_range

ROWS = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
TARGETS = ROWS[:, :1].clone()
DATA = (ROWS, TARGETS)
FOLDER = Path(tempfile.mkdtemp())
np.save(FOLDER / "rows.npy", ROWS.numpy())


def net():
    """Return a network of three weights."""
    return nn.Linear(2, 1)


def loss(outputs, targets):
    """Return the squared errors, one for each row."""
    return ((outputs - targets) ** 2).mean(dim=1)


def fresh(function, **fixed):
    """Return the function with arguments that a call uses up: made anew for each."""

    def call(**arguments):
        return function(
            **{k: make() for k, make in fixed.items() if k not in arguments} | arguments
        )

    call.__signature__ = inspect.signature(function)
    return call


def stepped():
    """Return the arguments of a step: a model, its loss, and an optimizer of its weights."""
    model = net()
    return {"model": model, "loss": loss, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}


def batches_of(tensors=ROWS, batch_size=4, sampling="reshuffle", last="scale", rng=0):
    """Return the batches of a tensor and the targets: `*tensors` with a name."""
    options = {"batch_size": batch_size, "sampling": sampling, "last": last, "rng": rng}
    return deep.TensorBatches(tensors, TARGETS, **options)


def step_of(loss=loss, micro_batch_size=None, clip=None, precision="float32", reduce=None):
    """Return a step of a model with an optimizer of its weights."""
    options = {"micro_batch_size": micro_batch_size, "clip": clip, "precision": precision}
    return deep.Step(**stepped() | {"loss": loss, "reduce": reduce} | options)


TRAIN = {
    "lr": "number >= 0",
    "validation": "None",
    "metrics": "None",
    "patience": "None",
    "micro_batch_size": "None",
    "clip": "None, number > 0",
    "device": "None",
    "checkpoint": "None, text",
    "checkpoint_every": "None",
    "hook": "None, function",
    "optimizer": "None",
    "capture": "None",
    "progress": "None, flag",
    "rng": "seed",
}

DEEP = {
    "train": Call(
        fresh(deep.train, model=net),
        {"loss": loss, "data": DATA, "batch_size": 4, "epochs": 1, "lr": 0.1, "device": "cpu"}
        | {"progress": False, "rng": 0},
        TRAIN,
    ),
    "train_parallel": Call(
        fresh(deep.train_parallel, model=net),
        {"loss": loss, "data": DATA, "batch_size": 4, "epochs": 1, "lr": 0.1}
        | {"progress": False, "rng": 0},
        {k: v for k, v in TRAIN.items() if k in inspect.signature(deep.train_parallel).parameters}
        | {"average_every": "None"},
    ),
    "evaluate": Call(
        deep.evaluate,
        {"model": net(), "loss": loss, "data": DATA},
        {"batch_size": "None", "metrics": "None, empty"},
    ),
    "accumulate_gradients": Call(
        deep.accumulate_gradients,
        {"model": net(), "loss": loss, "batch": DATA, "micro_batch_size": 4},
        {"weights": "None", "micro_batch_size": "None"},
    ),
    "TensorBatches": Call(batches_of, {}, {"rng": "seed"}),
    "IndexBatches": Call(deep.IndexBatches, {"n": 8, "batch_size": 4}, {"rng": "seed"}),
    "StreamDataset": Call(
        deep.StreamDataset,
        {"shards": [FOLDER / "rows.npy"], "batch_size": 4, "rng": 0},
        {"rank": "zero", "rng": "seed"},
    ),
    "Step": Call(
        step_of,
        {},
        {"loss": "function", "micro_batch_size": "None", "clip": "None, number > 0"}
        | {"reduce": "None, function"},
    ),
    "PlainSGD": Call(
        deep.PlainSGD, {"parameters": list(net().parameters()), "lr": 0.1}, {"lr": "number >= 0"}
    ),
    "SGLD": Call(
        deep.SGLD,
        {"params": list(net().parameters()), "lr": 0.1, "temperature": 0.01, "rng": 0},
        dict.fromkeys(("lr", "temperature", "weight_decay"), "number >= 0") | {"rng": "seed"},
    ),
    "SWA": Call(deep.SWA, {"model": net()}, {"start": "number >= 0", "every": "None"}),
    "SWAG": Call(deep.SWAG, {"model": net()}, {"start": "number >= 0", "every": "None"}),
    "update_batch_norm": Call(
        deep.update_batch_norm,
        {"model": net(), "x": ROWS, "batch_size": 4, "rng": 0},
        {"rng": "seed"},
    ),
    "save_checkpoint": Call(
        deep.save_checkpoint,
        {"path": FOLDER / "saved", "state": {"a": 1}},
        {"path": "text", "state": "empty"},
    ),
    "benchmark": Call(
        deep.benchmark,
        {"function": lambda: None, "repeats": 3, "warmup": 0, "min_seconds": 0.0},
        {"function": "function", "warmup": "int >= 0", "device": "None"}
        | {"min_seconds": "share, zero"},
    ),
    "accuracy": Call(evaluation.accuracy, {"outputs": torch.eye(3), "labels": torch.arange(3)}),
    "lr_range_test": Call(
        fresh(lr_range.lr_range_test, model=net),
        {"loss": loss, "data": DATA, "batch_size": 4, "steps": 20, "rng": 0, "high": 1e31},
        {"low": "number > 0", "high": "number > 0", "rng": "seed", "optimizer": "None"}
        | {"micro_batch_size": "None", "clip": "None, number > 0"},
    ),
    "hessian_product": Call(
        curvature.hessian_product,
        {"model": net(), "loss": loss, "data": DATA, "vector": torch.ones(3)},
        {"batch_size": "None"},
    ),
    "hessian_eigenvalues": Call(
        curvature.hessian_eigenvalues,
        {"model": net(), "loss": loss, "data": DATA, "k": 1, "rng": 0},
        {"batch_size": "None", "rng": "seed", "tol": "number > 0"},
    ),
    "train_ensemble": Call(
        fresh(ensembles.train_ensemble, models=lambda: [net(), net()]),
        {"loss": loss, "data": DATA, "batch_size": 4, "epochs": 1, "lr": 0.1, "rng": 0},
        {"lr": "number >= 0, 0-d", "momentum": "share >= 0", "weight_decay": "number >= 0"}
        | {"validation": "None", "metrics": "None", "device": "None", "rng": "seed"},
    ),
    "gauss_legendre": Call(deep.gauss_legendre, {"points": 2, "cells": 1, "dim": 1}),
    "DomainPoints": Call(
        deep.DomainPoints,
        {"batch_size": 4, "steps": 2, "shape": (), "dim": 1, "placement": "independent"},
        {"patch": "None", "rng": "seed"},
    ),
    "value_and_gradient": Call(
        deep.value_and_gradient,
        {"field": lambda x: x[..., 0], "x": torch.ones(4, 1)},
        {"field": "function"},
    ),
    "laplacian": Call(
        deep.laplacian,
        {"field": lambda x: x[..., 0], "x": torch.ones(4, 1)},
        {"field": "function"},
    ),
    "ZeroBoundary": Call(deep.ZeroBoundary, {"network": net()}, {"factor": "None, function"}),
    "Energy": Call(
        deep.Energy, {"field": net(), "source": lambda x: x[..., 0]}, {"source": "function"}
    ),
    "SquaredResidual": Call(
        deep.SquaredResidual,
        {"field": net(), "source": lambda x: x[..., 0]},
        {"source": "function"},
    ),
    "WeakResiduals": Call(
        deep.WeakResiduals,
        {"field": net(), "source": lambda x: x[..., 0], "tests": lambda x: x},
        {"source": "function", "tests": "function"},
    ),
    "integrand": Call(deep.integrand, {"values": torch.ones(4)}, {"coefficients": "None"}),
    "squared_mean": Call(deep.squared_mean, {"values": torch.ones(1, 4, 1)}),
    "product_of_means": Call(deep.product_of_means, {"values": torch.ones(1, 2, 4, 1)}),
}

BOOK = {
    "load_airfoil": Call(load_airfoil, {"n": 10}, {"n": "None", "standardize": "flag"}),
    "load_digits": Call(load_digits, {"rng": 0}, {"rng": "seed"}),
    "claim": Call(
        book.claim,
        {"text": "what is said", "measured": 1.0, "expected": 1.0, "abs_tol": 0.1},
        {"text": "text", "measured": "one", "expected": "one", "theory": "None, text"}
        | {"coarse": "None, text", "abs_tol": "one, zero, number > 0, None"}
        | {"scale": "None, one, number > 0", "sigmas": "None, one, number > 0"}
        | dict.fromkeys(("below", "above", "rel_tol", "stderr"), "None"),
    ),
}

# What is not walked over, and why: of `sgdlib.deep` and `sgdlib.book`, what their `__all__` names.
ABOVE = {
    "CheckpointError": "an error",
    "ClaimError": "an error",
    "Evaluation": "a result",
    "History": "a result",
    "Moment": "a result: what a hook is given",
    "Processes": "a result: what `processes` yields",
    "Split": "a result",
    "Timing": "a result",
    "train_with": "the loop of `train`, which is walked over, on a step and a loader",
    "Ensemble": "made by `train_ensemble`, which is walked over",
    "EnsembleHistory": "a result",
    "HessianEigenvalues": "a result",
    "RangeTest": "a result",
    "evaluate_ensemble": "the checks of `evaluate`, on an ensemble",
    "processes": "waits for other processes; its tests name what is refused",
    "synchronize_batch_norm": "a model; its tests name what is refused",
    "load_checkpoint": "a path, whose check is that of `save_checkpoint`",
    "LivePeak": "takes no argument",
    "SavedBytes": "tensors to leave out; its tests name what is refused",
    "begin": "takes no argument",
    "ramp": "a count; its tests name what is refused",
    "load_mnist1d": "takes no argument",
    "load_gpu_recording": "a file; its tests name what is refused",
    "quote": "writes into the page; its tests name what is refused",
    "show": "draws; its tests name what is refused",
    "explore": "draws; its tests name what is refused",
    "interval": "a choice of `explore`",
    "COLORS": "no function",
}
