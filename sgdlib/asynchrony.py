"""Workers and a server: a timetable of who delivers when, and how old what they deliver is.

    asynchronous    whoever is done delivers, reads the parameters anew, and goes on
    synchronous     all wait for the fastest n - b of n workers, then read the parameters together

The *staleness* of an update is the number of updates between the reading of the parameters and it.
`sgdlib.staleness` makes the updates of a timetable.

An asynchronous worker never waits. So its deliveries are the running sums of its own service times,
and the events of all workers are these sums in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib._trace import Result

__all__ = ["ServiceTime", "Timetable", "simulate_async", "simulate_sync"]

_AT_ONCE = 1 << 20  # service times drawn at once


@dataclass(frozen=True)
class ServiceTime:
    """How long a worker takes for one batch gradient.

    ``factor * (constant + exponential E + delay J)``, with E of the exponential law of mean 1, and
    J = 1 with chance `delay_chance`, else 0; all draws are independent.

    Parameters
    ----------
    constant
        What every task takes, >= 0.
    exponential
        Mean of the random part, >= 0; alone it is the exponential law, with `constant` the shifted
        exponential law.
    delay, delay_chance
        A delay of fixed size that befalls a task now and then.
    factors
        Of the first workers, the others have 1: ``(5.0,)`` makes worker 0 five times slower.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range, or tasks would take no time.

    Notes
    -----
    Used in the chapters *Data parallel training* and *Asynchronous SGD*.

    Examples
    --------
    >>> round(ServiceTime(constant=0.5, exponential=0.5).expected_wait(100), 4)
    3.0937
    """

    constant: float = 0.0
    exponential: float = 0.0
    delay: float = 0.0
    delay_chance: float = 0.0
    factors: Sequence[float] = (1.0,)

    def __post_init__(self):
        for name in ("constant", "exponential", "delay"):
            _check.number(name, getattr(self, name), at_least=0)
        _check.number("delay_chance", self.delay_chance, at_least=0, at_most=1)
        factors = _check.sequence("factors", self.factors)
        if not factors:
            raise ValueError("factors: expected at least one, got none")
        factors = tuple(_check.number("factors", f, above=0) for f in factors)
        object.__setattr__(self, "factors", factors)
        if not self.constant + self.exponential:
            raise ValueError(
                f"constant={self.constant}, exponential={self.exponential}: "
                "expected one of them > 0"
            )

    def draw(
        self, shape: tuple[int, ...], rng: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Draw times of shape (..., workers)."""
        if not isinstance(shape, tuple) or not shape:
            raise ValueError(f"shape={_check.shown(shape)}: expected a tuple (..., workers)")
        shape, rng = tuple(_check.integer("shape", n) for n in shape), _check.generator(rng)
        _check.integer("shape", shape[-1], low=len(self.factors))  # none without a worker
        times = np.full(shape, self.constant)
        if self.exponential:
            times += self.exponential * rng.standard_exponential(shape)
        if self.delay and self.delay_chance:
            times += self.delay * (rng.random(shape) < self.delay_chance)
        times[..., : len(self.factors)] *= self.factors
        return times

    def expected_wait(self, workers: int, *, backups: int = 0) -> float:
        """Return the mean time until all but `backups` of the workers are done with one task.

        ``constant + exponential (H_n - H_b)``, with H_n = 1 + 1/2 + ... + 1/n: when j workers are
        still busy, the next one is done after a mean time ``exponential / j``.

        Raises
        ------
        ValueError, TypeError
            For a law with delays or factors, where this does not hold.
        """
        workers = _check.integer("workers", workers)
        backups = _check.integer("backups", backups, low=0, high=workers - 1)
        if (self.delay and self.delay_chance) or set(self.factors) - {1.0}:
            raise ValueError(f"{self}: expected a law without delays and factors")
        return float(
            self.constant + self.exponential * (1 / np.arange(backups + 1, workers + 1)).sum()
        )


@dataclass(frozen=True, eq=False, repr=False)
class Timetable(Result):
    """When T updates happen, and how old their gradients are; (T,), or (T, R) for R replicas.

    Attributes
    ----------
    times
        When each update happens, from the start at 0.
    staleness
        How many updates happened between the reading of the parameters and the update.
    workers
        Who delivers: 0 to n - 1; -1 where all deliver together.
    """

    times: np.ndarray
    staleness: np.ndarray
    workers: np.ndarray

    def __repr__(self) -> str:
        ends, stale = np.mean(self.times[-1]), self.staleness.mean()
        return (
            f"Timetable({self.times.shape}, mean staleness {stale:.4g}, last update at {ends:.4g})"
        )


def simulate_async(
    service: ServiceTime,
    workers: int,
    steps: int,
    *,
    replicas: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> Timetable:
    """Let each worker deliver when it is done, read the parameters anew, and go on.

    Parameters
    ----------
    service
        Law of the time of one task.
    workers
        Number of workers n; all begin at time 0.
    steps
        Number of updates T, one for each delivery. Two at the same time come in the order of their
        numbers of deliveries so far, then of the workers.
    replicas
        Number of independent timetables R; None: one, of shape (T,).
    rng
        Seed or NumPy Generator.

    Returns
    -------
    Timetable

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Notes
    -----
    Derived in the chapter *Asynchronous SGD*.

    Examples
    --------
    >>> table = simulate_async(ServiceTime(constant=1.0), workers=3, steps=6)
    >>> table.times.tolist(), table.staleness.tolist()
    ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [0, 1, 2, 2, 2, 2])
    """
    _checked_service(service, workers)
    steps = _check.integer("steps", steps)
    count, rng = _check.optional("replicas", replicas) or 1, _check.generator(rng)
    more = -(-steps // workers)
    due = np.zeros((count, 0, workers))
    while True:  # until the last known delivery of each worker is not needed
        last = due[:, -1:] if due.shape[1] else 0.0
        due = np.concatenate(
            [due, last + service.draw((count, more, workers), rng).cumsum(axis=1)], axis=1
        )
        end = np.partition(due.reshape(count, -1), steps - 1)[:, steps - 1]
        if (due[:, -1].min(axis=1) >= end).all():
            break
        more = max(2, due.shape[1] // 3)
    order = due.reshape(count, -1).argsort(axis=1, kind="stable")[:, :steps]
    times = np.take_along_axis(due.reshape(count, -1), order, axis=1)
    who = order % workers
    # the previous delivery of the same worker: sorted by workers, the entry before
    by_worker = who.argsort(axis=1, kind="stable")
    same = np.diff(np.take_along_axis(who, by_worker, axis=1), axis=1, prepend=-1) == 0
    read = np.where(same, np.roll(by_worker, 1, axis=1) + 1, 0)
    staleness = np.empty_like(who)
    np.put_along_axis(staleness, by_worker, by_worker - read, axis=1)
    return _timetable(times, staleness, who, replicas)


def simulate_sync(
    service: ServiceTime,
    workers: int,
    steps: int,
    *,
    backups: int = 0,
    local_steps: int = 1,
    replicas: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> Timetable:
    """Let all workers begin together, and wait for all but the slowest `backups` of them.

    Parameters
    ----------
    service, workers, steps, replicas, rng
        As in `simulate_async`; `steps` counts what all do together. The late ones are called off.
    backups
        How many workers are not waited for.
    local_steps
        Tasks that each worker does between two meetings.

    Returns
    -------
    Timetable
        Its staleness is 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Notes
    -----
    Backup workers: Chen et al. (2016). Derived in the chapter *Data parallel training*.

    Examples
    --------
    >>> table = simulate_sync(ServiceTime(exponential=1.0), workers=100, steps=4000, rng=0)
    >>> round(float(table.times[-1]) / 4000, 1)  # 1 + 1/2 + ... + 1/100 = 5.187
    5.2
    """
    _checked_service(service, workers)
    steps = _check.integer("steps", steps)
    needed = workers - _check.integer("backups", backups, low=0, high=workers - 1)
    local_steps = _check.integer("local_steps", local_steps)
    count, rng = _check.optional("replicas", replicas) or 1, _check.generator(rng)
    waits = np.empty((count, steps))
    at_once = max(1, _AT_ONCE // (count * workers * local_steps))
    for low in range(0, steps, at_once):
        some = min(at_once, steps - low)
        tasks = service.draw((count, some, local_steps, workers), rng).sum(axis=2)
        waits[:, low : low + some] = np.partition(tasks, needed - 1)[..., needed - 1]
    nobody = np.full((count, steps), -1)
    return _timetable(waits.cumsum(axis=1), np.zeros_like(nobody), nobody, replicas)


def _checked_service(service, workers):
    if not isinstance(service, ServiceTime):
        raise TypeError(f"service={_check.shown(service)}: expected a ServiceTime")
    _check.integer("workers", workers, low=len(service.factors))


def _timetable(times, staleness, workers, replicas):
    parts = (times, staleness, workers)
    return Timetable(*(p[0] if replicas is None else p.T.copy() for p in parts))
