"""No public function swallows a bad value: the walk of `public_edges`, over all of the library."""

import collections
import functools
import importlib
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from public_calls_above import ABOVE as NOT_WALKED_ABOVE
from public_calls_above import BOOK, DEEP
from public_edges import BAD, KINDS, Call, arguments_of, attempt, public, walk

import sgdlib
from sgdlib import (
    asynchrony,
    batching,
    capacity,
    controllers,
    gradient_noise,
    landscapes,
    linear,
    populations,
    problems,
    recommendation,
    scaling,
    schedules,
    stability,
    staleness,
    streaming,
    variance_reduction,
)
from sgdlib.physics import annealing, escape, first_passage, langevin, posterior, stationary

X = np.array([[1.0, 0.5], [-1.0, 2.0], [0.3, -0.7], [2.0, 1.0]])
Y = np.array([1.0, 0.0, 1.0, 0.0])
THETA = np.array([0.1, -0.2])
SUM = linear.LeastSquares(X, Y)
ALIKE = linear.LeastSquares([[1.0], [1.1], [0.9]], [0.0, 0.0, 0.0])  # hardly any noise
LOGISTIC = linear.Logistic(X, Y, l2=0.1)
BOWL = populations.NoisyQuadratic([1.0, 2.0], 1.0)
RUGGED = landscapes.Rugged(1.0, dim=2)
WELL = landscapes.DoubleWell(40.0)
SERVICE = asynchrony.ServiceTime(exponential=1.0)
MODEL = scaling.TimeModel(iterations=2000, variance_cost=4e5, overhead=5e-3, per_example=2e-5)
FILES = [Path(tempfile.mkdtemp()) / "rows.npy"]
np.save(FILES[0], X)
STREAM = streaming.ArrayStream(FILES, batch_size=2, rng=0)


def half_square(theta, x, y):
    return (x @ theta - y) ** 2 / 2


def its_slope(theta, x, y):
    return (x @ theta - y)[:, None] * x


def square(theta):
    return (theta**2).sum(axis=-1) / 2


def same(theta):
    return 1.0 * theta


def of_steps(schedule):
    """Return a function of progress, so that the schedule itself is walked over too."""
    return Call(lambda progress: schedule(progress), {"progress": 0.5}, {"progress": "number >= 0"})


CORE = {
    # -- batching --
    "iterations_per_epoch": Call(batching.iterations_per_epoch, {"n": 5, "batch_size": 2}),
    "batches": Call(
        batching.batches,
        {"n": 5, "batch_size": 2, "rng": 0},
        {"epochs": "None", "steps": "None", "rng": "seed"},
    ),
    "create_batches": Call(
        batching.create_batches,
        {"X": X[:2], "y": Y[:2], "batch_size": 2, "rng": 0},
        {"X": "data", "y": "data", "epochs": "None", "rng": "seed"},
    ),
    # -- streaming --
    "block_order": Call(
        streaming.block_order, {"rows": 5, "block": 2, "mix": 2, "rng": 0}, {"rng": "seed"}
    ),
    "ArrayStream": Call(
        streaming.ArrayStream,
        {"shards": FILES, "batch_size": 2, "rng": 0},
        {"rank": "zero", "rng": "seed"},
    ),
    "ArrayStream.set_epoch": Call(STREAM.set_epoch, {"epoch": 0}, {"epoch": "int >= 0"}),
    "ArrayStream.iterate": Call(
        STREAM.iterate,
        {"epoch": 0},
        {"epoch": "int >= 0", "skip": "int >= 0", "worker": "int >= 0"},
    ),
    # -- problems --
    "FiniteSum": Call(problems.FiniteSum, {"arrays": (X, Y), "dim": 2}),
    "FiniteSum.losses": Call(SUM.losses, {"theta": THETA, "indices": [0]}, {"indices": "None"}),
    "FiniteSum.gradients": Call(
        SUM.gradients, {"theta": THETA, "indices": [0]}, {"indices": "None"}
    ),
    "FiniteSum.batch_gradient": Call(
        SUM.batch_gradient, {"theta": THETA, "indices": [0, 1], "weights": [0.5, 0.5]}
    ),
    "FiniteSum.batch_rows": Call(
        SUM.batch_rows, {"indices": [0, 1], "weights": [0.5, 0.5]}, {"replicas": "None"}
    ),
    "FiniteSum.loss": Call(SUM.loss, {"theta": THETA}),
    "FiniteSum.gradient": Call(SUM.gradient, {"theta": THETA}),
    "FiniteSum.hessian": Call(
        problems.from_arrays([X, Y], half_square, its_slope, dim=2).hessian, {"theta": THETA}
    ),
    "LeastSquares": Call(linear.LeastSquares, {"X": X, "y": Y}, {"l2": "number >= 0"}),
    "LeastSquares.hessian": Call(SUM.hessian, {"theta": THETA}, {"theta": "None"}),
    "Logistic": Call(linear.Logistic, {"X": X, "y": Y}, {"l2": "number >= 0"}),
    "Logistic.hessian": Call(LOGISTIC.hessian, {"theta": THETA}),
    "from_arrays": Call(
        problems.from_arrays,
        {"arrays": [X, Y], "losses": half_square, "gradients": its_slope, "dim": 2},
    ),
    # -- populations and landscapes --
    "Population": Call(
        populations.Population,
        {"loss": square, "gradient": same, "dim": 2, "covariance": 1.0},
        {"covariance": "number >= 0, 0-d"},
    ),
    "Population.loss": Call(BOWL.loss, {"theta": THETA}),
    "Population.gradient": Call(BOWL.gradient, {"theta": THETA}),
    "Population.batch_gradient": Call(
        BOWL.batch_gradient, {"theta": THETA, "batch_size": 2, "rng": 0}, {"rng": "seed"}
    ),
    "Population.noise": Call(
        BOWL.noise, {"shape": (3, 2), "rng": 0, "batch_size": 2}, {"rng": "seed"}
    ),
    "NoisyQuadratic": Call(
        populations.NoisyQuadratic,
        {"hessian": [1.0, 2.0], "covariance": 1.0},
        {"covariance": "number >= 0, 0-d", "center": "None"},
    ),
    "NoisyQuadratic.hessian": Call(BOWL.hessian, {"theta": THETA}, {"theta": "None"}),
    "Saddle": Call(
        landscapes.Saddle,
        {"covariance": 1.0},
        {"covariance": "number >= 0, 0-d", "stiffness": "number > 0", "instability": "number > 0"},
    ),
    "DoubleWell": Call(
        landscapes.DoubleWell,
        {"covariance": 1.0},
        {"covariance": "number >= 0, 0-d", "tilt": "number"},
    ),
    "Rugged": Call(
        landscapes.Rugged,
        {"covariance": 1.0, "dim": 2},
        {"covariance": "number >= 0, 0-d", "bowl": "number > 0", "center": "None"},
    ),
    "Rugged.in_global_basin": Call(RUGGED.in_global_basin, {"theta": THETA}),
    # -- descent --
    "minibatch_sgd": Call(
        sgdlib.minibatch_sgd,
        {"problem": SUM, "theta": THETA, "lr": 0.1, "batch_size": 2, "epochs": 1, "rng": 0},
        {"lr": "number > 0", "momentum": "share >= 0", "keep_parameters": "flag", "rng": "seed"}
        | {"batches": "None", "steps": "None"},
    ),
    "minibatch_sgd, by steps": Call(
        sgdlib.minibatch_sgd,
        {"problem": BOWL, "theta": THETA, "lr": 0.1, "batch_size": 2, "steps": 2}
        | {"momentum": 0.5, "nesterov": True},
        {"lr": "number > 0", "momentum": "half", "keep_parameters": "flag", "rng": "seed"}
        | {"momentum": "share", "nesterov": "flag", "batches": "None", "epochs": "None"},
    ),
    "minibatch_sgd, batches given": Call(
        sgdlib.minibatch_sgd,
        {"problem": SUM, "theta": THETA, "lr": 0.1, "batches": [([0, 1], [0.5, 0.5])]},
        {"lr": "number > 0", "batch_size": "None", "epochs": "None", "steps": "None"}
        | {"momentum": "share >= 0", "keep_parameters": "flag", "rng": "seed"},
    ),
    # -- asynchrony --
    "ServiceTime": Call(
        asynchrony.ServiceTime,
        {"constant": 1.0, "exponential": 1.0, "delay": 1.0, "delay_chance": 0.1, "factors": (2.0,)},
        dict.fromkeys(("constant", "exponential", "delay"), "number >= 0")
        | {"delay_chance": "share >= 0"},
    ),
    "ServiceTime.draw": Call(SERVICE.draw, {"shape": (2, 3), "rng": 0}, {"rng": "seed"}),
    "ServiceTime.expected_wait": Call(
        SERVICE.expected_wait, {"workers": 3, "backups": 1}, {"backups": "int >= 0"}
    ),
    "simulate_async": Call(
        asynchrony.simulate_async,
        {"service": SERVICE, "workers": 3, "steps": 4, "rng": 0},
        {"replicas": "None", "rng": "seed"},
    ),
    "simulate_sync": Call(
        asynchrony.simulate_sync,
        {"service": SERVICE, "workers": 3, "steps": 4, "backups": 1, "rng": 0},
        {"replicas": "None", "backups": "int >= 0", "rng": "seed"},
    ),
    "stale_sgd": Call(
        staleness.stale_sgd,
        {"problem": SUM, "theta": THETA, "lr": 0.1, "staleness": 1, "batch_size": 2, "epochs": 1}
        | {"rng": 0},
        {"lr": "number > 0", "momentum": "share >= 0", "keep_parameters": "flag", "rng": "seed"}
        | {"batches": "None", "steps": "None", "staleness": "int >= 0"},
    ),
    "svrg": Call(
        variance_reduction.svrg,
        {"problem": SUM, "theta": THETA, "lr": 0.1, "period": 2, "batch_size": 2, "epochs": 1}
        | {"rng": 0},
        {"lr": "number > 0", "keep_parameters": "flag", "rng": "seed"}
        | {"batches": "None", "steps": "None"},
    ),
    "saga": Call(
        variance_reduction.saga,
        {"problem": SUM, "theta": THETA, "lr": 0.1, "batch_size": 2, "epochs": 1, "rng": 0},
        {"lr": "number > 0", "keep_parameters": "flag", "rng": "seed"}
        | {"batches": "None", "steps": "None"},
    ),
    # -- schedules --
    "constant": Call(schedules.constant, {"value": 0.1}, {"value": "number"}),
    "step_decay": Call(
        schedules.step_decay,
        {"start": 0.8},
        dict.fromkeys(("start", "factor", "every"), "number > 0"),
    ),
    "inverse_time": Call(
        schedules.inverse_time,
        {"start": 0.8},
        dict.fromkeys(("start", "scale", "power"), "number > 0"),
    ),
    "cosine": Call(
        schedules.cosine,
        {"start": 1.0, "length": 10},
        {"start": "number", "length": "number > 0", "end": "number"},
    ),
    "warmup": Call(
        schedules.warmup,
        {"then": 0.4, "length": 2},
        {"then": "number", "length": "number > 0", "start": "number >= 0"},
    ),
    "cyclical": Call(
        schedules.cyclical,
        {"low": 0.0, "high": 1.0, "period": 4},
        {"low": "number", "high": "number", "period": "number > 0"},
    ),
    "one_cycle": Call(
        schedules.one_cycle,
        {"peak": 1.0, "length": 10},
        {"peak": "number > 0", "length": "number > 0", "rise": "share", "end": "number"}
        | {"start": "None, number >= 0"},
    ),
    "grow_batch": Call(
        schedules.grow_batch,
        {"start": 32},
        {"factor": "number > 0", "every": "number > 0", "maximum": "None"},
    ),
    "join": Call(schedules.join, {"schedules": [1.0, 2.0], "boundaries": [5]}),
    **{
        f"{name}, asked": of_steps(schedule)
        for name, schedule in {
            "constant": schedules.constant(0.1),
            "step_decay": schedules.step_decay(0.8),
            "inverse_time": schedules.inverse_time(0.8),
            "cosine": schedules.cosine(1.0, length=10),
            "warmup": schedules.warmup(0.4, length=2),
            "cyclical": schedules.cyclical(0.0, 1.0, period=4),
            "one_cycle": schedules.one_cycle(1.0, length=10),
            "grow_batch": schedules.grow_batch(32, maximum=100),
            "join": schedules.join([1.0, 2.0], [5]),
        }.items()
    },
    # -- controllers --
    "ReduceOnPlateau": Call(
        controllers.ReduceOnPlateau,
        {"lr": 0.4},
        {"lr": "number > 0", "factor": "share", "patience": "int >= 0"}
        | {"tolerance": "number >= 0", "minimum": "int >= 0", "watch": "None, function"},
    ),
    "ReduceOnPlateau.update": Call(
        controllers.ReduceOnPlateau(0.4).update, {"loss": 1.0}, {"loss": "number, loss"}
    ),
    "NormTest": Call(
        controllers.NormTest, {"batch_size": 2}, {"theta": "number > 0", "maximum": "None"}
    ),
    "NormTest.update": Call(
        controllers.NormTest(2, maximum=9).update, {"parts": [[1.0, 1.0], [3.0, 1.0]]}
    ),
    # -- gradient noise --
    "gradient_covariance": Call(
        gradient_noise.gradient_covariance, {"problem": SUM, "theta": THETA}
    ),
    "batch_gradient_variance": Call(
        gradient_noise.batch_gradient_variance,
        {"sigma2": 1.0, "batch_size": 2},
        {"sigma2": "number >= 0", "n": "None", "rho": "None, correlation"},
    ),
    "gradient_noise_scale": Call(
        gradient_noise.gradient_noise_scale,
        {"problem": ALIKE, "theta": [1.0], "small": 1, "big": 3, "draws": 50, "rng": 0},
        {"rng": "seed"},
    ),
    "gradient_noise_scale, exact": Call(
        gradient_noise.gradient_noise_scale,
        {"problem": SUM, "theta": THETA},
        {"small": "None", "big": "None", "rng": "seed"},
    ),
    # -- scaling --
    "stability_limit": Call(
        stability.stability_limit,
        {"curvature": 1.0},
        {"curvature": "number > 0", "momentum": "share >= 0", "nesterov": "flag"},
    ),
    "staleness_stability_limit": Call(
        stability.staleness_stability_limit,
        {"staleness": 1, "curvature": 1.0},
        {"staleness": "int >= 0", "curvature": "number > 0"},
    ),
    "minibatch_stability_limit": Call(
        stability.minibatch_stability_limit,
        {"curvatures": [1.0, 3.0], "batch_size": 1},
        {"replacement": "flag"},
    ),
    "scale_lr": Call(
        scaling.scale_lr, {"lr": 0.1, "batch_size": 8, "new_batch_size": 16}, {"lr": "number > 0"}
    ),
    "TimeModel": Call(
        scaling.TimeModel,
        {"iterations": 2000, "variance_cost": 4e5, "overhead": 5e-3, "per_example": 2e-5},
        dict.fromkeys(("iterations", "variance_cost", "overhead", "per_example"), "number > 0"),
    ),
    **{
        f"TimeModel.{name}": Call(
            getattr(MODEL, name), {"batch_size": 8}, {"batch_size": "number > 0, array"}
        )
        for name in ("steps", "step_time", "time")
    },
    # -- recommendation, capacity --
    "two_batch_noise_scale": Call(
        recommendation.two_batch_noise_scale, {"square_norms": {8: 1.0, 64: 0.2}}
    ),
    "choose_batch_size": Call(
        recommendation.choose_batch_size,
        {"step_times": {8: 1.0, 64: 2.0}, "noise_scale": 100.0, "workers": 2},
        {"noise_scale": "number > 0"},
    ),
    "choose_lr": Call(
        recommendation.choose_lr,
        {"lr": 0.1, "batch_size": 8, "new_batch_size": 16, "noise_scale": 100.0},
        {
            "lr": "number > 0",
            "noise_scale": "number > 0",
            "momentum": "share >= 0",
            "curvature": "None, number > 0",
        },
    ),
    "choose_pieces": Call(
        capacity.choose_pieces,
        {"memory": {8: 1.0, 64: 2.0}, "limit": 1.5, "batch_size": 64, "gradient": 0.1},
        {"limit": "number > 0", "gradient": "number >= 0"},
    ),
    "choose_communication": Call(
        capacity.choose_communication,
        {"gradient": 1e8, "bandwidth": 1e9, "per_example": 1e-3, "batch_size": 8, "workers": 2},
        {k: "number > 0" for k in ("gradient", "bandwidth", "per_example")},
    ),
    "fit_time_model": Call(
        scaling.fit_time_model,
        {"batch_sizes": [8, 64, 512], "steps": [900, 200, 112], "step_times": [1, 2, 3]}
        | {"steps_stderr": [1, 1, 1], "step_times_stderr": [1, 1, 1]},
    ),
}

PHYSICS = {
    "temperature": Call(
        stationary.temperature,
        {"lr": 0.1, "batch_size": 2, "sigma2": 1.0},
        {"lr": "number > 0", "sigma2": "number >= 0", "n": "None", "momentum": "share >= 0"},
    ),
    "stationary_covariance": Call(
        stationary.stationary_covariance,
        {"hessian": [1.0, 2.0], "covariance": 1.0, "lr": 0.1, "batch_size": 2},
        {"hessian": "share, 0-d", "covariance": "number >= 0, 0-d", "lr": "share", "n": "None"}
        | {"momentum": "share >= 0"},
    ),
    "continuum_covariance": Call(
        stationary.continuum_covariance,
        {"hessian": [1.0, 2.0], "covariance": 1.0, "lr": 0.1, "batch_size": 2},
        {
            "hessian": "number > 0, 0-d",
            "covariance": "number >= 0, 0-d",
            "lr": "number > 0",
            "n": "None",
        }
        | {"momentum": "share >= 0"},
    ),
    "sgld": Call(
        langevin.sgld,
        {"problem": SUM, "theta": THETA, "lr": 0.01, "temperature": 0.1, "batch_size": 2}
        | {"epochs": 1, "rng": 0},
        {"lr": "number > 0", "temperature": "number >= 0, None", "steps": "None"}
        | {"batches": "None", "keep_parameters": "flag", "rng": "seed"},
    ),
    "posterior_lr": Call(
        langevin.posterior_lr,
        {"covariance": [1.0, 2.0], "n": 100, "batch_size": 10},
        {"covariance": "number > 0, 0-d"},
    ),
    "autocorrelation_time": Call(
        langevin.autocorrelation_time, {"series": np.sin(np.arange(99.0) ** 2)}
    ),
    "normal_mean": Call(
        posterior.normal_mean,
        {"y": X, "covariance": 1.0, "prior_variance": 1.0},
        {"covariance": "number > 0, 0-d", "prior_variance": "None, number > 0"},
    ),
    "linear_regression": Call(
        posterior.linear_regression,
        {"X": X, "y": Y, "noise_variance": 1.0, "prior_variance": 1.0},
        {"noise_variance": "number > 0", "prior_variance": "None, number > 0"},
    ),
    "first_passage": Call(
        first_passage.first_passage,
        {"problem": WELL, "start": [[-1.0]], "target": -0.99, "lr": 0.02, "batch_size": 2}
        | {"max_steps": 50, "rng": 0},
        {"target": "number", "lr": "number > 0", "rng": "seed"},
    ),
    "mean_first_passage_time": Call(
        escape.mean_first_passage_time,
        {"gradient": WELL, "start": -0.1, "target": 0.1, "temperature": 1.0},
        {"start": "number", "target": "number", "temperature": "number > 0"}
        | {"reflect": "None, number"},
    ),
    "mean_first_passage_steps": Call(
        escape.mean_first_passage_steps,
        {"population": WELL, "start": -0.1, "target": 0.1, "lr": 0.1, "batch_size": 1},
        {"start": "number", "target": "number", "lr": "number > 0"},
    ),
    "kramers_time": Call(
        escape.kramers_time,
        {"barrier": 0.25, "well_curvature": 2.0, "top_curvature": -1.0, "temperature": 0.1}
        | {"to": "top"},
        dict.fromkeys(("barrier", "well_curvature", "temperature"), "number > 0")
        | {"top_curvature": "number"},
    ),
    "cooling_schedule": Call(
        annealing.cooling_schedule,
        {"start": 1.0, "end": 0.1, "length": 10},
        {"start": "number > 0", "end": "share", "length": "number > 0"},
    ),
    "cool_by_batch": Call(
        annealing.cool_by_batch,
        {"temperature": 0.1, "lr": 0.1, "sigma2": 10.0},
        {"temperature": "share", "lr": "number > 0", "sigma2": "number > 0", "maximum": "None"},
    ),
    "cool_by_rate": Call(
        annealing.cool_by_rate,
        {"temperature": 0.1, "batch_size": 4, "sigma2": 1.0},
        {"temperature": "number > 0", "sigma2": "number > 0"},
    ),
    "variance_ratio": Call(
        annealing.variance_ratio,
        {"lr": 0.1, "curvature": 1.0, "factor": 5},
        {"lr": "share", "curvature": "share", "factor": "number > 0", "momentum": "share >= 0"},
    ),
    "in_steps": Call(annealing.in_steps, {"batch_size": 2, "examples": 7}),
    **{
        f"{name}, asked": of_steps(schedule)
        for name, schedule in {
            "cooling_schedule": annealing.cooling_schedule(1.0, 0.1, length=10),
            "cool_by_batch": annealing.cool_by_batch(0.1, lr=0.1, sigma2=10.0),
            "cool_by_rate": annealing.cool_by_rate(0.1, batch_size=4, sigma2=1.0),
        }.items()
    },
}

# What is not walked over, and why.
RESULT = "a result: made by the library, from what it has checked"
INNER = "the inner loop: its arguments were checked before the first step"
NOT_WALKED = {
    "sgdlib": {
        "Batch": "a pair; whoever takes batches checks them",
        "Timetable": RESULT,
        "NoiseScale": RESULT,
        "TimeModelFit": RESULT,
        "BatchChoice": RESULT,
        "RateChoice": RESULT,
        "Pieces": RESULT,
        "Communication": RESULT,
        "Problem": "a protocol, for annotations",
        **{f"Problem.{name}": "a protocol" for name in ("loss", "gradient", "draw")},
        "Problem.weighted_gradient": "a protocol",
        "FiniteSum.draw": INNER,
        "Population.draw": INNER,
        "FiniteSum.row_losses": INNER,
        "FiniteSum.row_gradients": INNER,
        "FiniteSum.weighted_gradient": INNER,
        "LeastSquares.row_losses": INNER,
        "Logistic.row_losses": INNER,
        "Population.weighted_gradient": INNER,
    },
    "sgdlib.physics": {
        "FirstPassage": RESULT,
        "Correlation": RESULT,
        "Normal": RESULT,
        "Normal.divergence": INNER,
        "ConjugateModel": RESULT,
    },
}
CALLS = {"sgdlib": CORE, "sgdlib.physics": PHYSICS}
ABOVE = {"sgdlib.deep": DEEP, "sgdlib.book": BOOK}
ALL = CALLS | ABOVE


def base(name):
    """Return the name of what is called: several calls of one thing may be walked over."""
    return name.partition(",")[0]


@pytest.mark.parametrize("package", CALLS)
def test_nothing_public_is_left_out(package):
    found = {name for name, function in public(package).items() if arguments_of(function)}
    walked = {base(name) for name in CALLS[package]} & found
    assert found - walked == set(NOT_WALKED[package])
    assert not [name for name in CALLS[package] if base(name) not in found and "asked" not in name]


@pytest.mark.parametrize("package", ABOVE)
def test_what_a_wing_names_is_walked_over(package):
    named = set(importlib.import_module(package).__all__)
    assert named - set(ABOVE[package]) <= set(NOT_WALKED_ABOVE)


@pytest.mark.parametrize("package", ALL)
def test_the_valid_calls_are_valid(package):
    for name, call in ALL[package].items():
        assert set(call.arguments) <= set(arguments_of(call.function)), name
        call.function(**call.arguments)


@functools.cache
def outcomes(package):
    return walk(ALL[package])


@pytest.mark.parametrize("package", ALL)
@pytest.mark.parametrize("what", ["unclear", "silent"])
def test_no_bad_value_is(what, package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a path among the bad values is one of a file there
    found = [str(outcome) for outcome in outcomes(package) if outcome.what == what]
    assert not found, "\n".join([f"{len(found)} {what}", *found])


def test_the_walk_notices_what_it_is_there_for():
    def swallows(lr, size):
        return lr, size

    def crashes(lr):
        return math.sqrt(lr) + lr[0]

    what = collections.Counter(o.what for o in walk({"s": Call(swallows, {"lr": 1, "size": 2})}))
    assert what == {"silent": 2 * len(BAD)}
    assert {o.what for o in walk({"c": Call(crashes, {"lr": 1})})} == {"unclear"}
    allowed = Call(swallows, {"lr": 1, "size": 2}, {"lr": "number"})
    assert attempt(allowed, "s", "lr", "half").what == "accepted"
    assert attempt(allowed, "s", "lr", "nan").what == "silent"
    assert attempt(allowed, "s", "size", "half").what == "silent"


def test_kinds_take_a_small_part_of_the_bad_values():
    assert all(taken <= set(BAD) and len(taken) <= 5 for taken in KINDS.values())
