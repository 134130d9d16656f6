r"""Mini-batch stochastic gradient descent, and the trace it leaves.

    g = sum_{i in batch} w_i grad l_i(theta)
    v <- momentum v + g
    theta <- theta - lr v                  (Nesterov: theta - lr (g + momentum v))

One driver serves finite sums and populations, one run (theta of shape (d,)) and R replicas
(theta of shape (R, d)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from sgdlib import _check
from sgdlib.batching import Batch, common_weight, index_blocks
from sgdlib.populations import Population
from sgdlib.problems import FiniteSum

Schedule = float | Callable[[float], float]

_BLOCK_BYTES = 1 << 20  # examples gathered at once: about the size of a core's cache


class DivergenceError(ArithmeticError):
    """A run left the finite numbers.

    Attributes
    ----------
    step
        Number of the step that did it, counted from 0.
    theta
        The last finite parameters, (d,) or (R, d).
    """

    def __init__(self, message: str, *, step: int, theta: object):
        super().__init__(message)
        self.step, self.theta = step, theta


@dataclass(frozen=True)
class Trace:
    """What a run left behind; K records, the first before the first step, the last at the end.

    Attributes
    ----------
    theta
        Final parameters, (d,) or (R, d).
    steps, epochs, examples
        (K,) progress at each record: steps made, examples seen / N (for a population: steps), and
        gradients of examples computed (per replica).
    losses
        (K,) or (K, R): the full loss at theta, before the step that follows.
    lrs, batch_sizes
        (K,) or (K, R), and (K,): those of the step that follows (at the end: of the last step).
    parameters
        (K, d) or (K, R, d), or None unless asked for.
    diverged_at
        The step at which a run or a replica was frozen, -1 if it was not: () or (R,).
    """

    theta: np.ndarray
    steps: np.ndarray
    epochs: np.ndarray
    examples: np.ndarray
    losses: np.ndarray
    lrs: np.ndarray
    batch_sizes: np.ndarray
    parameters: np.ndarray | None
    diverged_at: np.ndarray


class _Block(NamedTuple):
    """Consecutive steps: one tuple of array rows each, all with these weights and sizes."""

    rows: list[tuple]
    weights: np.ndarray | float | None
    examples: int
    size: int
    start: int


def minibatch_sgd(
    problem: FiniteSum | Population,
    theta: np.ndarray,
    *,
    lr: Schedule | np.ndarray,
    batch_size: int | Callable[[float], float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Minimize `problem` by mini-batch SGD from `theta`.

    Parameters
    ----------
    problem
        A `FiniteSum` or a `Population`.
    theta
        Start, (d,), or (R, d) for R independent replicas, each with batches of its own.
    lr
        Learning rate: a number, (R,) numbers, or a schedule of progress. Progress is epochs
        (examples seen / N) for a finite sum and steps for a population.
    batch_size
        An int, or a schedule of progress. One size per step for all replicas.
    epochs, steps
        Length of the run: one of them (a population has no epochs).
    momentum, nesterov
        Heavy-ball coefficient in [0, 1), in torch's convention; Nesterov's variant of it.
    sampling, last
        Which examples make up a batch: see `sgdlib.batching.batches`.
    batches
        An explicit sequence of batches instead of `batch_size`, `sampling` and `last`, to compare
        runs step by step. Indices may be (B,) for all replicas, or (R, B).
    record
        Record every so many steps; ``"epoch"``: at each epoch (a population: about 100 times).
    keep_parameters
        Also keep theta at each record.
    on_divergence
        ``"raise"``, or ``"freeze"``: a replica keeps its last finite parameters from then on.
    rng
        Seed or NumPy Generator.

    Returns
    -------
    Trace
        Final parameters and the records; memory grows with the number of records only.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work is done.
    DivergenceError
        If parameters stop being finite, with the step and the likely cause.

    Notes
    -----
    Robbins and Monro (1951); momentum: Polyak (1964). Derived in the chapter *The gradient-descent
    spectrum*; momentum in *The training loop*.

    Examples
    --------
    >>> from sgdlib.problems import LeastSquares
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> problem = LeastSquares(X, X @ [1.0, -2.0])
    >>> trace = minibatch_sgd(problem, [0.0, 0.0], lr=0.1, batch_size=10, epochs=20, rng=0)
    >>> trace.theta.round(3)
    array([ 1., -2.])
    """
    theta = np.array(_check.parameters(theta, problem.dim), dtype=float)
    lr = _learning_rate(lr, theta)
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    if nesterov and not momentum:
        raise ValueError("nesterov=True: expected momentum > 0")
    _check.option("on_divergence", on_divergence, ("raise", "freeze"))
    if record != "epoch":
        record = _check.integer("record", record)
    finite = isinstance(problem, FiniteSum)
    if batches is None and batch_size is None:
        raise ValueError("batch_size=None: expected a batch size, or batches=")
    if batches is None and (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: expected one of them")
    if batches is not None and not finite:
        raise ValueError("batches: a population has no examples to index; give batch_size")
    if batches is not None and not (batch_size is None and epochs is None and steps is None):
        raise ValueError("batches: the sequence already says batch_size, epochs and steps")
    rng = _check.generator(rng)

    run = _Run(problem, lr, momentum, nesterov, record, keep_parameters, on_divergence)
    if not finite:
        if epochs is not None:
            raise ValueError(f"epochs={epochs}: a population has no epochs, give steps")
        steps = _check.integer("steps", steps)
        if record == "epoch":
            run.record = max(1, steps // 100)
        return run(theta, _population_blocks(problem, theta, batch_size, steps, rng))
    if batches is not None:
        return run(theta, _explicit_blocks(problem, theta, batches))

    def blocks(group, rng, rows):
        replicas = None if theta.ndim == 1 else len(group)
        plan = index_blocks(
            problem.n,
            batch_size,
            sampling=sampling,
            last=last,
            epochs=epochs,
            steps=steps,
            rng=rng,
            replicas=replicas,
            rows=rows,
        )
        return _gathered(problem, plan)

    row_bytes = sum(a[:1].nbytes for a in problem.arrays)
    first = batch_size(0.0) if callable(batch_size) else batch_size
    together = max(1, int(_BLOCK_BYTES // (row_bytes * max(1, first)))) if first == first else 1
    if theta.ndim == 1 or len(theta) <= together:
        replicas = 1 if theta.ndim == 1 else len(theta)
        return run(theta, blocks(theta, rng, max(1, _BLOCK_BYTES // (row_bytes * replicas))))
    # Groups of replicas whose batch stays in the cache, each run to its end.
    starts = range(0, len(theta), together)
    traces = []
    for start, child in zip(starts, rng.spawn(len(starts)), strict=True):
        part = slice(start, start + together)
        run.lr = lr[part] if isinstance(lr, np.ndarray) else lr
        rows = max(1, _BLOCK_BYTES // (row_bytes * together))
        traces.append(run(theta[part], blocks(theta[part], child, rows)))
    return _side_by_side(traces)


# -- where the steps come from -------------------------------------------------------------------


def _gathered(problem: FiniteSum, plan) -> Iterator[_Block]:
    """Gather the examples of each block into buffers that are used again."""
    buffers: dict = {}
    for block in plan:
        data = []
        for number, array in enumerate(problem.arrays):
            shape = block.indices.shape + array.shape[1:]
            out = buffers.get((number, shape))
            if out is None:
                out = buffers[number, shape] = np.empty(shape, array.dtype)
            # mode="clip" skips a bounds check per index: these indices are our own
            data.append(array.take(block.indices, axis=0, out=out, mode="clip"))
        rows = list(zip(*data, strict=True))
        weight = common_weight(block.weights)
        weights = block.weights if weight is None else weight
        yield _Block(rows, weights, block.examples, block.nominal, block.start)


def _explicit_blocks(problem, theta, batches) -> Iterator[_Block]:
    start = 0
    for batch in batches:
        indices, weights = batch
        rows = problem.batch_rows(theta, indices, weights)
        size = np.shape(indices)[-1]
        yield _Block([rows], np.asarray(weights, dtype=float), size, size, start)
        start += size


def _population_blocks(problem, theta, batch_size, steps, rng) -> Iterator[_Block]:
    """Draw the noise of several steps at once; progress counts steps."""
    at_once = max(1, _BLOCK_BYTES // theta.nbytes)
    step = 0
    while step < steps:
        size = batch_size(float(step)) if callable(batch_size) else batch_size
        size = _check.integer("batch_size", round(size) if callable(batch_size) else size)
        k = 1 if callable(batch_size) else min(at_once, steps - step)
        noise = problem.noise((k, *theta.shape), rng, size)
        yield _Block([(xi,) for xi in noise], None, size, size, step)
        step += k


# -- the steps -----------------------------------------------------------------------------------


@dataclass
class _State:
    """Where a run stands."""

    theta: np.ndarray
    velocity: np.ndarray
    diverged_at: np.ndarray
    step: int = 0
    examples: int = 0
    position: int = 0
    epoch: int = -1
    rate: float | np.ndarray = 0.0
    size: int = 0
    records: list = field(default_factory=list)

    def copy(self):
        arrays = (self.theta.copy(), self.velocity.copy(), self.diverged_at.copy())
        counts = (self.step, self.examples, self.position, self.epoch, self.rate, self.size)
        return _State(*arrays, *counts, list(self.records))


@dataclass
class _Run:
    problem: FiniteSum | Population
    lr: Schedule | np.ndarray
    momentum: float
    nesterov: bool
    record: int | str
    keep_parameters: bool
    on_divergence: str

    def __call__(self, theta: np.ndarray, blocks: Iterator[_Block]) -> Trace:
        """Run `theta` through the blocks, and return the trace."""
        theta = theta.copy()
        state = _State(theta, np.zeros_like(theta), np.full(theta.shape[:-1], -1))
        with np.errstate(over="ignore", invalid="ignore"):
            for block in blocks:
                backup = state.copy()
                self._make_steps(block, state, careful=bool((state.diverged_at >= 0).any()))
                if not np.isfinite(state.theta).all():
                    # Something overflowed: make the same steps again, looking at each.
                    state = backup
                    self._make_steps(block, state, careful=True)
                if (state.diverged_at >= 0).all():
                    break
            self._note(state)
        columns = [np.array(c) for c in zip(*state.records, strict=True)]
        kept = columns.pop() if self.keep_parameters else None
        return Trace(state.theta, *columns, kept, state.diverged_at)

    def _make_steps(self, block: _Block, state: _State, careful: bool) -> None:
        """Make the steps of one block; `careful` looks at theta after every step."""
        finite = isinstance(self.problem, FiniteSum)
        scale = self.problem.n if finite else 1
        stride = block.size if finite else 1
        state.size, done = block.size, 0
        while done < len(block.rows):
            state.position = block.start + done * stride
            state.rate = self.lr(state.position / scale) if callable(self.lr) else self.lr
            if self._due(state, scale):
                self._note(state)
            # The longest stretch of steps that nothing interrupts.
            until = 1 if careful else len(block.rows) - done
            if self.record != "epoch":
                until = min(until, self.record - state.step % self.record)
            before = state.theta.copy() if careful else None
            self._descend(block, done, done + until, state, stride, scale)
            done += until
            state.position = block.start + done * stride
            if careful:
                self._hold(state, before)
            state.step += until
            state.examples += until * block.examples

    def _descend(self, block, low, high, state, stride, scale):
        """Update theta in place by the steps low..high-1 of the block: the inner loop."""
        theta, velocity, weights = state.theta, state.velocity, block.weights
        gradient = self.problem.weighted_gradient
        lr, momentum, nesterov = self.lr, self.momentum, self.nesterov
        scheduled = callable(lr)
        rate = lr[:, None] if isinstance(lr, np.ndarray) else lr
        for j in range(low, high):
            if scheduled:
                rate = state.rate = lr((block.start + j * stride) / scale)
            g = gradient(theta, weights, *block.rows[j])
            if momentum:
                velocity *= momentum
                velocity += g
                g = g + momentum * velocity if nesterov else velocity.copy()
            g *= rate
            theta -= g

    def _due(self, state, scale):
        if self.record != "epoch":
            return state.step % self.record == 0
        epoch = state.position // scale
        new, state.epoch = epoch > state.epoch, epoch
        return new

    def _note(self, state):
        scale = self.problem.n if isinstance(self.problem, FiniteSum) else 1
        note = (
            state.step,
            state.position / scale,
            state.examples,
            self.problem.loss(state.theta),
            state.rate,
            state.size,
        )
        state.records.append((*note, state.theta.copy()) if self.keep_parameters else note)

    def _hold(self, state, before):
        """Raise at the first step that is not finite, or keep the replicas where they were."""
        new = (state.diverged_at < 0) & ~np.isfinite(state.theta).all(axis=-1)
        if new.any() and self.on_divergence == "raise":
            raise DivergenceError(self._cause(state.step, before), step=state.step, theta=before)
        state.diverged_at[new] = state.step
        frozen = state.diverged_at >= 0
        state.theta[frozen], state.velocity[frozen] = before[frozen], 0.0

    def _cause(self, step, before):
        rate = self.lr(0.0) if callable(self.lr) else self.lr
        text = (
            f"the run diverged at step {step}: theta is no longer finite with lr={np.max(rate):g}"
        )
        if not hasattr(self.problem, "hessian"):
            return text + "; a smaller learning rate is the first thing to try"
        from sgdlib.scaling import stability_limit

        at = np.zeros(self.problem.dim)
        largest = float(np.linalg.eigvalsh(self.problem.hessian(at))[-1])
        limit = stability_limit(largest, momentum=self.momentum, nesterov=self.nesterov)
        side = "above" if np.max(rate) > limit else "below"
        more = (
            ""
            if side == "above"
            else "; small batches have a lower limit, outliers or NaN data too"
        )
        return (
            f"{text}, {side} the full-batch stability limit {limit:.4g} "
            f"of the largest curvature {largest:.4g} at theta=0{more}"
        )


def _learning_rate(lr, theta):
    if callable(lr):
        _check.number("lr at progress 0", lr(0.0), at_least=0)
        return lr
    if np.ndim(lr) == 0:
        return _check.number("lr", lr, above=0)
    lr = _check.array("lr", lr, ndim=1)
    if theta.ndim != 2 or lr.shape != (len(theta),):
        raise ValueError(f"lr: expected a number or one per replica, got shape {lr.shape}")
    if lr.min() <= 0:
        raise ValueError(f"lr={lr.min():g}: expected a finite number > 0")
    return lr


def _side_by_side(traces: list[Trace]) -> Trace:
    """Join the traces of groups of replicas along the replica axis."""
    longest = max(traces, key=lambda t: len(t.steps))

    def join(name):
        parts = [getattr(t, name) for t in traces]
        if name in ("theta", "diverged_at"):
            return np.concatenate(parts)
        if parts[0] is None or parts[0].ndim < 2:
            return getattr(longest, name)
        # a group that froze entirely stopped early: its last record stands
        rows = len(longest.steps)
        parts = [p[np.minimum(np.arange(rows), len(p) - 1)] for p in parts]
        return np.concatenate(parts, axis=1)

    return Trace(**{f.name: join(f.name) for f in fields(Trace)})
