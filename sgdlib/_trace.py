"""What a run leaves behind, whether it came to its end or diverged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np


class DivergenceError(ArithmeticError):
    """A run left the finite numbers.

    Attributes
    ----------
    step
        Number of the step that did it, counted from 0.
    theta
        The last finite parameters, (d,), or (R, d) of the replicas that ran together.
    """

    def __init__(self, message: str, *, step: int = -1, theta: object = None):
        super().__init__(message)  # the defaults let it be pickled, and so cross processes
        self.step, self.theta = step, theta


class Result:
    """A frozen result that holds arrays: equal to another if all that it holds is."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [f.name for f in fields(self) if f.compare]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None


def _same(a, b):
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


@dataclass(frozen=True)
class Stop:
    """Where a run, or a group of its replicas, stands: what it takes to go on beside theta.

    `rule` is the state of its rule, `position` its progress in examples (of a population: in
    steps), and `places` says how far the examples of the epoch are used up.
    """

    n: float
    replicas: int | None
    rule: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    position: int = 0
    examples: int = 0
    evaluations: int = 0
    places: dict[str, Any] = field(default_factory=dict)


def merged(stops: Sequence[Stop]) -> Stop:
    """Join the groups of replicas into one, for a run that does not draw examples itself."""
    longest = max(stops, key=lambda stop: stop.step)
    if len(stops) == 1:
        return longest

    def join(name):
        parts = [stop.rule[name] for stop in stops]
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else parts[0]

    rule, replicas = {name: join(name) for name in longest.rule}, sum(s.replicas for s in stops)
    return replace(longest, replicas=replicas, rule=rule, places={})


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Result):
    """What a run left behind; K records, the first before the first step, the last at the end.

    Attributes
    ----------
    theta
        Final parameters, (d,) or (R, d).
    steps, epochs, examples
        (K,) progress at each record: steps made, epochs (for a population: steps), and examples
        seen by each replica. What pads or wraps a short batch is not counted.
    evaluations
        (K,) gradients of single examples computed for each replica up to each record: what the
        steps cost. Plain descent takes one for each example seen.
    losses
        (K,) or (K, R): the full loss at theta, before the step that follows.
    lrs, batch_sizes
        (K,) or (K, R), and (K,): those of the step that follows (at the end: of the last step).
    parameters
        (K, d) or (K, R, d), or None unless asked for.
    diverged_at
        The step at which a run or a replica was frozen, -1 if it was not: () or (R,).
    stops
        What else it takes to go on from here (the velocity, the order of the examples), one for
        each group of replicas: give the trace to the next run as its `theta`.
    """

    theta: np.ndarray
    steps: np.ndarray
    epochs: np.ndarray
    examples: np.ndarray
    evaluations: np.ndarray
    losses: np.ndarray
    lrs: np.ndarray
    batch_sizes: np.ndarray
    parameters: np.ndarray | None
    diverged_at: np.ndarray
    stops: tuple[Stop, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        first, last = (np.mean(self.losses[k]) for k in (0, -1))
        mean = "loss" if self.losses.ndim == 1 else "mean loss"
        return (
            f"Trace(theta {self.theta.shape}, {self.steps[-1]} steps, {len(self.steps)} records, "
            f"{mean} {first:.4g} -> {last:.4g})"
        )


def side_by_side(traces: list[Trace]) -> Trace:
    """Join the traces of groups of replicas along the replica axis."""
    longest = max(traces, key=lambda trace: trace.steps[-1])
    # a group that froze entirely stopped early: its last record stands
    rows = np.arange(len(longest.steps))

    def join(name):
        parts = [getattr(trace, name) for trace in traces]
        if name in ("theta", "diverged_at"):
            return np.concatenate(parts)
        if name == "stops":
            return sum(parts, ())
        if parts[0] is None or parts[0].ndim == 1:
            return getattr(longest, name)
        return np.concatenate([p[np.minimum(rows, len(p) - 1)] for p in parts], axis=1)

    return Trace(**{f.name: join(f.name) for f in fields(Trace)})
