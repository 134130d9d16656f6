"""Schedules against torch's schedulers, and what every schedule has to keep."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgdlib import schedules
from sgdlib.schedules import (
    constant,
    cosine,
    cyclical,
    grow_batch,
    inverse_time,
    join,
    one_cycle,
    step_decay,
    warmup,
)


def torch_rates(scheduler, steps, *, lr=0.8, **options):
    """Return the rates of torch's scheduler at steps 0..steps-1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = scheduler(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


SCHEDULERS = torch.optim.lr_scheduler
JUDGED = {
    "constant": (constant(0.8), SCHEDULERS.ConstantLR, {"factor": 1.0}),
    "step_decay": (
        step_decay(0.8, factor=0.3, every=7),
        SCHEDULERS.StepLR,
        {"step_size": 7, "gamma": 0.3},
    ),
    "exponential": (
        step_decay(0.8, factor=0.95, every=1),
        SCHEDULERS.ExponentialLR,
        {"gamma": 0.95},
    ),
    "milestones": (
        join([0.8, 0.08, 0.008], [10, 25]),
        SCHEDULERS.MultiStepLR,
        {"milestones": [10, 25], "gamma": 0.1},
    ),
    "inverse_time": (
        inverse_time(0.8, scale=4.0, power=0.75),
        SCHEDULERS.LambdaLR,
        {"lr_lambda": lambda k: (1 + k / 4) ** -0.75},
    ),
    "cosine": (
        cosine(0.8, length=39, end=0.1),
        SCHEDULERS.CosineAnnealingLR,
        {"T_max": 39, "eta_min": 0.1},
    ),
    "restarts": (
        join([cosine(0.8, length=8), cosine(0.8, length=16), cosine(0.8, length=32)], [8, 24]),
        SCHEDULERS.CosineAnnealingWarmRestarts,
        {"T_0": 8, "T_mult": 2},
    ),
    "warmup": (
        warmup(0.8, length=10, start=0.08),
        SCHEDULERS.LinearLR,
        {"start_factor": 0.1, "total_iters": 10},
    ),
    "cyclical": (
        cyclical(0.1, 0.8, period=12),
        SCHEDULERS.CyclicLR,
        {"base_lr": 0.1, "max_lr": 0.8, "step_size_up": 6, "cycle_momentum": False},
    ),
    # torch ends the rise one step early: pct_start * total_steps - 1
    "one_cycle": (
        one_cycle(0.8, length=39, rise=11 / 39, end=0.8 / 25e4),
        SCHEDULERS.OneCycleLR,
        {"max_lr": 0.8, "total_steps": 40, "pct_start": 0.3, "cycle_momentum": False},
    ),
}


def assert_agrees(schedule, scheduler, options, steps=40):
    ours = np.array([schedule(float(k)) for k in range(steps)])
    np.testing.assert_allclose(ours, torch_rates(scheduler, steps, **options), atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", JUDGED)
def test_agrees_with_torch(name):
    assert_agrees(*JUDGED[name])


def test_planted_bug_a_warmup_that_starts_one_step_late():
    late = warmup(0.8, length=10, start=0.08)
    with pytest.raises(AssertionError):
        assert_agrees(lambda k: late(max(0.0, k - 1)), *JUDGED["warmup"][1:])


SCHEDULES = {
    "constant": constant(0.4),
    "step_decay": step_decay(0.4, factor=0.5, every=2.5),
    "inverse_time": inverse_time(0.4, scale=3),
    "cosine": cosine(0.4, length=7),
    "warmup": warmup(cosine(0.4, length=9), length=2, start=0.01),
    "cyclical": cyclical(0.1, 0.4, period=3),
    "one_cycle": one_cycle(0.4, length=8),
    "join": join([0.4, cosine(0.3, length=4)], [2]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@given(progress=st.floats(0, 1e6), other=st.floats(0, 1e6))
def test_pure_finite_and_within_its_range(name, progress, other):
    schedule = SCHEDULES[name]
    value = schedule(progress)
    schedule(other)
    assert schedule(progress) == value
    assert 0 <= value <= 0.4 * (1 + 1e-12)


@given(length=st.floats(0.01, 1e4), start=st.floats(0, 1), peak=st.floats(1e-6, 10))
def test_warmup_ends_where_the_schedule_goes_on(length, start, peak):
    then = cosine(peak, length=3 * length)
    schedule = warmup(then, length=length, start=start)
    assert schedule(0.0) == start
    assert schedule(length) == then(length)
    assert schedule(length * (1 - 1e-9)) == pytest.approx(then(length), rel=1e-6, abs=1e-8)


@given(length=st.floats(0.1, 1e3), rise=st.floats(0.05, 0.95))
def test_one_cycle_has_its_peak_at_the_joint_and_no_jump(length, rise):
    schedule = one_cycle(1.0, length=length, rise=rise)
    assert schedule(rise * length) == pytest.approx(1.0)
    assert schedule(0.0) == pytest.approx(1 / 25)
    assert schedule(length) == pytest.approx(0.0, abs=1e-12)
    grid = np.linspace(0, length, 400)
    jumps = np.abs(np.diff([schedule(p) for p in grid]))
    assert jumps.max() < 4 / (400 * min(rise, 1 - rise))


@given(every=st.floats(0.01, 10), k=st.integers(1, 200))
def test_a_decay_happens_at_its_multiple(every, k):
    # k * every / every may be just below k in floating point
    schedule = step_decay(1.0, factor=0.5, every=every)
    assert schedule(every * k) == 0.5**k
    assert schedule(every * (k - 0.5)) == 0.5 ** (k - 1)
    assert grow_batch(1, factor=2, every=every, maximum=10**9)(every * 3) == 8


def test_three_tenths_of_an_epoch_are_three_times_a_tenth():
    assert math.floor(0.3 / 0.1) == 2  # what the plain formula does
    assert step_decay(1.0, factor=0.5, every=0.1)(0.3) == 0.125


def test_inverse_time_and_the_conditions_of_robbins_and_monro():
    # sums up to 10 K and K differ by about log(10) for power 1, and the squares' by nearly nothing
    rates = np.array([inverse_time(1.0, scale=1)(float(k)) for k in range(100_000)])
    sums = rates.cumsum()
    assert sums[-1] - sums[9_999] == pytest.approx(math.log(10), rel=1e-3)
    assert np.square(rates).sum() == pytest.approx(math.pi**2 / 6, rel=1e-4)


def test_grow_batch_and_step_decay_are_mirror_images():
    lr, size = step_decay(0.8, factor=1 / 4, every=10), grow_batch(16, factor=4, every=10)
    for progress in (0, 9.9, 10, 25, 30):
        assert lr(progress) * size(progress) == pytest.approx(0.8 * 16)


def test_grow_batch_returns_ints_and_stays_at_its_maximum():
    schedule = grow_batch(32, factor=1.5, every=1, maximum=1000)
    sizes = [schedule(p) for p in range(5000)]
    assert all(isinstance(s, int) for s in sizes)
    assert sizes[:3] == [32, 48, 72]
    assert sizes[-1] == 1000


def test_a_joined_schedule_starts_anew_at_its_boundary():
    schedule = join([1.0, lambda p: 10 + p, lambda p: 20 + p], [2, 5])
    assert [schedule(p) for p in (0, 1.9, 2, 4.5, 5, 7)] == [1, 1, 10, 12.5, 20, 22]


def test_steps_and_epochs():
    # the same schedule counted in steps and in epochs, 12 steps an epoch
    in_steps, in_epochs = cosine(0.5, length=60), cosine(0.5, length=5)
    for step in range(61):
        assert in_steps(step) == pytest.approx(in_epochs(step / 12), abs=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: constant(float("nan")), "value=nan: expected a finite number"),
        (lambda: constant("0.1"), "value='0.1': expected a finite number"),
        (lambda: step_decay(0.0), "start=0.0: expected a finite number > 0"),
        (lambda: step_decay(1.0, every=0), "every=0.0: expected a finite number > 0"),
        (lambda: step_decay(1.0, factor=-1), "factor=-1.0"),
        (lambda: inverse_time(1.0, power=0), "power=0.0: expected a finite number > 0"),
        (lambda: inverse_time(1.0, scale=-2), "scale=-2.0"),
        (lambda: cosine(1.0, length=0), "length=0.0: expected a finite number > 0"),
        (lambda: warmup(1.0, length=-1), "length=-1.0"),
        (lambda: warmup(1.0, length=1, start=-1), "start=-1.0: expected a finite number >= 0"),
        (lambda: cyclical(0, 1, period=0), "period=0.0"),
        (
            lambda: one_cycle(1.0, length=1, rise=1),
            "rise=1.0: expected a finite number > 0 and < 1",
        ),
        (lambda: grow_batch(32, maximum=16), "maximum=16: expected an int >= start=32"),
        (lambda: grow_batch(0), "start=0: expected an int >= 1"),
        (lambda: join([1.0], [1]), "join: expected increasing boundaries, one fewer than the 1"),
        (lambda: join([1.0, 2.0, 3.0], [2, 1]), "join: expected increasing boundaries"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_every_public_schedule_is_tested_here():
    public = {
        name
        for name, value in vars(schedules).items()
        if callable(value) and getattr(value, "__module__", "") == schedules.__name__
    }
    named = {name for name in public if name in globals()}
    assert {name for name in public if not name.startswith("_")} == named


EVERY_KIND = [
    constant(0.1),
    step_decay(0.8),
    inverse_time(1.0),
    cosine(1.0, length=10),
    warmup(0.4, length=2),
    cyclical(0.0, 1.0, period=4),
    one_cycle(1.0, length=10),
    grow_batch(32),
    join([1.0, 2.0], [5]),
]


@pytest.mark.parametrize("progress", [-1, math.nan, math.inf, "1", None, True, [1.0], np.ones(2)])
@pytest.mark.parametrize("schedule", EVERY_KIND)
def test_progress_is_a_number_from_zero_on(schedule, progress):
    with pytest.raises(
        (ValueError, TypeError), match=r"^progress=.*: expected a finite number >= 0$"
    ):
        schedule(progress)
    assert schedule(np.float32(0.5)) == schedule(0.5)


def test_schedules_that_leave_the_floats():
    assert step_decay(1.0, factor=10.0)(1e6) == math.inf  # the driver refuses it as a rate
    assert step_decay(1.0, every=1e-300)(1e300) == 0.0
    assert inverse_time(1.0, power=1e3)(1e9) == 0.0
    assert grow_batch(2, maximum=100)(1e9) == 100
    with pytest.raises(
        ValueError, match=r"^maximum=None: expected an int, the batch overflows at 1e"
    ):
        grow_batch(2)(1e9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: join(None, []), r"^schedules=None: expected a sequence$"),
        (lambda: join([0.1, 0.2], 5), r"^boundaries=5: expected a sequence$"),
        (lambda: join([0.1, "x"], [5]), r"^schedules='x': expected a finite number$"),
        (lambda: join([0.1, 0.2], ["5"]), r"^boundaries='5': expected a finite number$"),
        (lambda: warmup("x", length=2), r"^then='x': expected a finite number$"),
        (lambda: warmup(lambda p: None, length=2), r"^then\(2\)=None: expected a finite number$"),
    ],
)
def test_schedules_of_schedules_name_what_is_wrong(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_joined_list_is_not_followed():
    parts, edges = [0.1, 0.2], [5.0]
    both = join(parts, edges)
    parts[1], edges[0] = 9.0, 99.0
    assert (both(4), both(6)) == (0.1, 0.2)
