"""The driver: it owns the plan of batches and the groups of replicas, and knows no rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sgdlib import _check, _steps
from sgdlib._plan import LAST, SAMPLING, Draws, Plan
from sgdlib._run import Rule, Run
from sgdlib._trace import Stop, Trace, merged, side_by_side
from sgdlib.batching import Batch
from sgdlib.problems import Problem

Schedule = float | Callable[[float], float]

_GROUP_BYTES = 1 << 20  # rows of one step of a group of replicas: the size of a core's cache
_ORDER_BYTES = 1 << 27  # permutations of a group of replicas held at once


def drive(
    problem: Problem,
    theta: np.ndarray | Trace,
    rule: Rule,
    *,
    lr: Any,
    batch_size: Any = None,
    epochs: int | None = None,
    steps: int | None = None,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Run `rule` on `problem` from `theta`, or on from a trace; arguments as in `minibatch_sgd`."""
    if not _check.is_problem(problem):
        kind = type(problem).__name__
        raise TypeError(f"problem: expected a FiniteSum or a Population, got a {kind}")
    resumed = theta if isinstance(theta, Trace) else None
    theta = _check.parameters(theta if resumed is None else theta.theta, problem.dim)
    replicas = None if theta.ndim == 1 else len(theta)
    lr = _learning_rate(lr, theta)
    _check.option("sampling", sampling, SAMPLING)
    _check.option("last", last, LAST)
    if isinstance(record, str) and record != "epoch":
        raise ValueError(f"record={_check.shown(record)}: expected 'epoch' or an int >= 1")
    record = record if isinstance(record, str) else _check.integer("record", record)
    _check.flag("keep_parameters", keep_parameters)
    _check.option("on_divergence", on_divergence, ("raise", "freeze"))
    rng = _check.generator(rng)
    finite, plan = math.isfinite(problem.n), None
    if batches is None:
        plan = _plan(problem, batch_size, epochs, steps, sampling, last)
        if record == "epoch" and not finite:
            record = max(1, plan.steps // 100)
    elif not finite:
        raise ValueError("batches: a population has no examples to index; give batch_size")
    elif not (batch_size is None and epochs is None and steps is None):
        raise ValueError("batches: the sequence already says batch_size, epochs and steps")
    settings = {
        "controllers": _controllers(problem, theta, lr, plan),
        "record": record,
        "keep_parameters": keep_parameters,
        "on_divergence": on_divergence,
    }

    if resumed is None:
        stops, frozen = [Stop(problem.n, replicas)], np.full(theta.shape[:-1], -1)
    else:
        stops, frozen = resumed.stops, resumed.diverged_at
        if stops[0].n != problem.n:
            raise ValueError(
                f"theta: the trace is of a run on {stops[0].n} examples, the problem has "
                f"{problem.n}; trace.theta starts anew"
            )
    if not finite or plan is None:
        stops = [merged(stops)]
    elif resumed is None and replicas is not None:
        stops = [Stop(problem.n, count) for count in _groups(problem, plan, replicas)]
    children = [rng] if len(stops) == 1 else rng.spawn(len(stops))
    traces, low = [], 0
    for stop, child in zip(stops, children, strict=True):
        part = ... if len(stops) == 1 else slice(low, low := low + stop.replicas)
        rate = lr[part] if isinstance(lr, np.ndarray) else lr
        own = rule.part(part) if hasattr(rule, "part") else rule
        run = Run(problem, own, theta[part], rate, stop, frozen[part], **settings)
        draws = None
        if plan is None:
            blocks = _steps.explicit(problem, stop.replicas, batches, stop.position)
        elif not finite:
            blocks = _steps.noise(problem, plan, theta.shape, child, stop.position)
        else:
            rows = _steps.BLOCK_BYTES // (_row_bytes(problem) * (stop.replicas or 1))
            draws = Draws(plan, child, stop.replicas, max(1, rows), **stop.places)
            blocks = _steps.gathered(problem, draws)
        traces.append(run.through(blocks, draws))
    return traces[0] if len(traces) == 1 else side_by_side(traces)


def _plan(problem, batch_size, epochs, steps, sampling, last):
    if batch_size is None:
        raise ValueError("batch_size=None: expected a batch size, or batches=")
    epochs, steps = _check.optional("epochs", epochs), _check.optional("steps", steps)
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: expected one of them")
    plan = Plan(problem.n, batch_size, sampling, last, epochs, steps)
    if epochs is not None and math.isinf(problem.n):
        raise ValueError(f"epochs={epochs}: a population has no epochs, give steps")
    if math.isfinite(problem.n):
        plan.largest()  # asks the schedule: what is wrong with it is better known now
    return plan


def _learning_rate(lr, theta):
    if _check.controller("lr", lr):
        return lr
    if callable(lr):
        _check.number("lr(0)", lr(0.0), at_least=0)
        return lr
    if _check.scalar(lr):
        return _check.number("lr", lr, above=0)
    lr = _check.array("lr", lr, ndim=1)
    if theta.ndim != 2 or lr.shape != (len(theta),):
        raise ValueError(f"lr: expected a number or one per replica, got shape {lr.shape}")
    if lr.min() <= 0:
        raise ValueError(f"lr={lr.min():g}: expected a finite number > 0")
    return lr.copy()


def _controllers(problem, theta, lr, plan):
    """Return the controllers among the knobs, after checking that they can see what they need."""
    knobs = {"lr": lr, "batch_size": plan and plan.size.controller}
    found = {name: knob for name, knob in knobs.items() if hasattr(knob, "looks_at")}
    for name, controller in found.items():
        if theta.ndim != 1:
            shape = f"theta of shape (d,), got {theta.shape}"
            raise ValueError(f"{name}: a controller looks at one run, expected {shape}")
        if controller.looks_at == "gradients" and not hasattr(problem, "row_gradients"):
            raise ValueError(f"{name}: this controller looks at examples, a population has none")
    return list({id(c): c for c in found.values()}.values())


def _row_bytes(problem):
    return sum(a[:1].nbytes for a in problem.arrays)


def _groups(problem, plan, replicas):
    """Return the sizes of groups of replicas whose batch stays in the cache."""
    together = _GROUP_BYTES // (_row_bytes(problem) * plan.largest())
    if plan.sampling in ("reshuffle", "shuffle_once"):
        together = min(together, _ORDER_BYTES // (8 * problem.n))
    together = min(max(1, together), replicas)
    # A few replicas left over join the last group: alone they would take nearly as long as it.
    starts = [*range(0, replicas - together // 32, together), replicas]
    return [high - low for low, high in itertools.pairwise(starts)]
