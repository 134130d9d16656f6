r"""The mean time over a barrier in one dimension: solved exactly, and estimated.

In steps of the discrete walk; in time t = eta * steps as eta goes to 0; as T goes to 0 too
(Kramers)::

    m(x) = 1 + E[m(x - eta g)],  m = 0 beyond the target
    T m'' - L' m' = -1,          m = 0 at the target
    2 pi / sqrt(k_a |k_b|) exp(Delta L / T)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sgdlib import _check
from sgdlib.populations import Population

__all__ = ["kramers_time", "mean_first_passage_steps", "mean_first_passage_time"]

_DEEP = 40.0  # beyond a height of 40 T a share e^-40 of the walkers is lost


def mean_first_passage_time(
    gradient: Callable[[np.ndarray], np.ndarray] | Population,
    start: float,
    target: float,
    *,
    temperature: float | Callable[[np.ndarray], np.ndarray],
    reflect: float | None = None,
) -> float:
    r"""Return the exact mean time to the target of ``dx = -L'(x) dt + sqrt(2 T(x)) dW``.

    The mean time m obeys ``T m'' - L' m' = -1``. So ``J = |m'|`` obeys a first-order equation,
    integrated here from the reflecting end, and m is the integral of J::

        J(y) = exp(Phi(y)) int^y exp(-Phi(z))/T(z) dz,   Phi' = L'/T,   m = int_start^target J(y) dy

    Only differences of Phi inside short panels are exponentiated: a high barrier overflows where
    the answer itself does, at about 700 T. Panels are halved until the answer stays.

    Parameters
    ----------
    gradient
        L', a function of positions (n,) that returns (n,); or a population of one dimension.
    start, target
        From where to where; the target may be on either side.
    temperature
        T > 0, or a function of positions (n,): the noise as it is *before* a step (Ito).
    reflect
        A wall behind the start. Without one the landscape has to hold the walker by itself.

    Returns
    -------
    float
        In units of time, learning rate times steps.

    Raises
    ------
    ValueError, TypeError
        If T is not positive, the wall not behind the start, or nothing holds the walker back.
    ArithmeticError
        If the panels do not settle.

    Notes
    -----
    It is the mean of the diffusion. That of a walk with noise that is not normal tends to it only
    where ``|L'|`` is small against the standard deviation of one example's gradient; a smaller
    learning rate does not help. Gardiner, *Stochastic Methods* (2009). Derived in the chapter
    *Over the barrier*.

    Examples
    --------
    >>> from sgdlib import DoubleWell
    >>> round(mean_first_passage_time(DoubleWell(40.0), -1, 0, temperature=0.1), 2)
    30.82
    """
    start, target = _check.number("start", start), _check.number("target", target)
    if start == target:
        return 0.0
    side = 1.0 if target > start else -1.0
    slope, heat = _slope(gradient), _heat(temperature)
    if reflect is None:
        wall = _hold(slope, heat, start, side, abs(target - start))
    else:
        wall = _check.number("reflect", reflect)
        if side * (start - wall) < 0:
            raise ValueError(f"reflect={wall:g}: expected a wall behind the start {start:g}")
    before = math.inf
    for panels in 2 ** np.arange(5, 17):
        time = _integrate(slope, heat, wall, start, target, int(panels))
        if abs(time - before) <= 1e-10 * abs(time):  # not if one is inf or nan: refine
            return time
        before = time
    if time == math.inf:
        return time
    raise ArithmeticError(f"start={start:g}, target={target:g}: the mean time did not settle")


def _integrate(slope, heat, wall, start, target, panels):
    """Return the integral of J from start to target, J being 0 at the wall."""
    nodes, cumulate, weights = _rule()
    time, J = 0.0, 0.0
    side = 1.0 if target > wall else -1.0
    for begin, end, counted in ((wall, start, False), (start, target, True)):
        if begin == end:
            continue
        width = abs(end - begin) / panels
        x = begin + side * width * (np.arange(panels)[:, None] + nodes)
        T = heat(x.ravel()).reshape(x.shape)
        force = side * slope(x.ravel()).reshape(x.shape) / T
        rise = width * force @ cumulate.T  # Phi minus its value at the panel's start
        last = width * force @ weights
        with np.errstate(over="ignore", invalid="ignore"):
            own = np.exp(-rise) / T
            partial = np.exp(rise) * (width * own @ cumulate.T)
            # per panel: J <- grow J + add, and its integral = carry J + rest
            grow, add = np.exp(last), np.exp(last) * (width * own @ weights)
            carry, rest = width * np.exp(rise) @ weights, width * partial @ weights
        for g, a, c, r in zip(*(v.tolist() for v in (grow, add, carry, rest)), strict=True):
            if counted:
                time += (c * J if J else 0.0) + r
            J = (g * J if J else 0.0) + a
    return time


def _rule(points=12):
    """Return Gauss nodes on 0..1, the matrix that integrates from 0 to each node, and weights."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    nodes, weights = (nodes + 1) / 2, weights / 2
    # integrate each node's Lagrange polynomial, in the Legendre basis
    u, legendre = 2 * nodes - 1, np.polynomial.legendre
    basis = legendre.legvander(u, points - 1)
    integral = legendre.legval(u, legendre.legint(np.eye(points), lbnd=-1, axis=0)).T
    return nodes, integral @ np.linalg.inv(basis) / 2, weights


def _hold(slope, heat, start, side, scale):
    """Return a place behind the start that the walker reaches with probability about e^-40."""
    nodes, _, weights = _rule()
    phi = lowest = 0.0
    x, width = start, scale / 16
    for _ in range(4000):
        points = x - side * width * nodes
        phi += width * float(-side * slope(points) / heat(points) @ weights)
        x -= side * width
        lowest = min(lowest, phi)
        if not math.isfinite(phi):
            break
        if phi - lowest > _DEEP:
            return x
        if abs(phi - lowest) < 1 and abs(x - start) > 4 * scale:
            width *= 1.05
    raise ValueError(
        f"start={start:g}: nothing holds the walker back on the other side; expected a wall, "
        "reflect=..."
    )


def mean_first_passage_steps(
    population: Population, start: float, target: float, *, lr: float, batch_size: int
) -> float:
    """Return the exact mean number of steps of the discrete walk to the target or beyond.

    The mean m obeys ``m(x) = 1 + E[m(x - lr g)]`` with m = 0 beyond the target: one linear
    equation per node of a Gauss rule (Nystrom's method). Nodes are added until m stays.

    Parameters
    ----------
    population
        One dimension, with noise; its noise is normal.
    start, target
        From where to where.
    lr, batch_size
        Learning rate, and examples per batch.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the landscape does not hold the walker.
    ArithmeticError
        If 3000 nodes do not suffice, or the time is too long for the precision of a float.

    Notes
    -----
    Derived in the chapter *Over the barrier*.

    Examples
    --------
    >>> from sgdlib import DoubleWell
    >>> well = DoubleWell(40.0)
    >>> round(mean_first_passage_steps(well, -1.0, 0.0, lr=0.02, batch_size=2), 1)
    434.7
    """
    if not (_check.is_problem(population) and hasattr(population, "covariance")):
        raise TypeError(f"population: expected a Population, got {type(population).__name__}")
    slope = _slope(population)
    start, target = _check.number("start", start), _check.number("target", target)
    lr, batch_size = _check.number("lr", lr, above=0), _check.integer("batch_size", batch_size)
    kick = lr * math.sqrt(float(population.covariance[0, 0]) / batch_size)
    if kick == 0:
        raise ValueError("population: expected noise, got a variance of 0")
    if start == target:
        return 0.0
    side = 1.0 if target > start else -1.0
    heat = _heat(kick**2 / (2 * lr))
    wall = _hold(slope, heat, start, side, abs(target - start)) - side * 2 * kick

    def transition(x, to):
        mean = x - lr * slope(x)
        return np.exp(-(((to - mean[:, None]) / kick) ** 2) / 2) / (math.sqrt(2 * math.pi) * kick)

    count, before = 4 * abs(target - wall) / kick + 20, math.inf
    while count < 3000:
        count = int(count)
        nodes, weights = np.polynomial.legendre.leggauss(count)
        x = wall + (target - wall) * (nodes + 1) / 2
        weights = weights * abs(target - wall) / 2
        m = np.linalg.solve(np.eye(count) - transition(x, x) * weights, np.ones(count))
        steps = 1 + float(transition(np.array([start]), x)[0] @ (weights * m))
        if steps > 1 and abs(steps - before) <= 1e-7 * steps:
            return steps
        count, before = 1.3 * count, steps
    raise ArithmeticError(
        f"start={start:g}, target={target:g}: the mean number of steps did not settle with 3000 "
        f"nodes at lr={lr:g}, batch_size={batch_size}"
    )


def kramers_time(
    barrier: float,
    well_curvature: float,
    top_curvature: float,
    *,
    temperature: float,
    to: str,
) -> float:
    r"""Return Kramers' estimate of the mean time to climb out of a well.

    ::

        to="well"   2 pi / sqrt(k_a |k_b|) exp(barrier/T)     into the well beyond the top
        to="top"    half of it: from the top, every second walker falls back

    Parameters
    ----------
    barrier
        Height of the top above the bottom, > 0.
    well_curvature, top_curvature
        Second derivatives k_a > 0 at the bottom and k_b < 0 at the top.
    temperature
        T > 0.
    to
        `"top"` or `"well"`: what counts as an arrival.

    Returns
    -------
    float
        In units of time, learning rate times steps.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    The leading term as T -> 0, for normal noise that is white and the same everywhere, for a
    smooth top, small steps (learning rate times curvature << 1), and, with `"well"`, a target far
    beyond the top. At barrier/T = 2.5 it is 12 % too short in the symmetric double well.
    Kramers (1940); Hänggi, Talkner and Borkovec (1990). Derived in the chapter *Over the barrier*.

    Examples
    --------
    >>> round(kramers_time(0.25, 2.0, -1.0, temperature=0.1, to="top"), 2)
    27.06
    """
    barrier = _check.number("barrier", barrier, above=0)
    well = _check.number("well_curvature", well_curvature, above=0)
    top = _check.number("top_curvature", top_curvature, below=0)
    T = _check.number("temperature", temperature, above=0)
    turns = {"top": math.pi, "well": 2 * math.pi}[_check.option("to", to, ("top", "well"))]
    try:
        return turns / math.sqrt(well * -top) * math.exp(barrier / T)
    except OverflowError:
        return math.inf


def _slope(gradient):
    """Return L' as a function of positions (n,)."""
    if _check.is_problem(gradient):
        if gradient.dim != 1:
            raise ValueError(f"gradient: expected one dimension, got {gradient.dim}")
        return lambda x: gradient.gradient(x[:, None])[:, 0]
    _check.function("gradient", gradient)

    def slope(x):
        return _check.answer("gradient", gradient(x), x.shape, "positions")

    return slope


def _heat(temperature):
    """Return T as a function of positions (n,), all positive."""
    if not callable(temperature):
        constant = _check.number("temperature", temperature, above=0)
        return lambda x: np.full(x.shape, constant)

    def heat(x):
        T = temperature(x)
        T = np.full(x.shape, T) if _check.scalar(T) else T
        T = _check.answer("temperature", T, x.shape, "positions")
        if not (T > 0).all():
            raise ValueError(f"temperature={T.min():g}: expected a temperature > 0 everywhere")
        return T

    return heat
