"""Learning rate against batch size, and the time to a target: closed forms and a known fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdlib.scaling import TimeModel, fit_time_model, scale_lr

positive = st.floats(1e-3, 1e3)


@given(lr=positive, b=st.integers(1, 1000), k=st.integers(1, 50))
def test_rules_of_scaling(lr, b, k):
    assert scale_lr(lr, b, k * b) == pytest.approx(k * lr)
    assert scale_lr(lr, b, k * b, rule="sqrt") == pytest.approx(k**0.5 * lr)
    assert scale_lr(scale_lr(lr, b, k), k, b) == pytest.approx(lr)  # and back


@given(n=positive, c=positive, f=positive, d=positive)
def test_the_optimal_batch_size_takes_least_time(n, c, f, d):
    model = TimeModel(iterations=n, variance_cost=c, overhead=f, per_example=d)
    best = model.optimal_batch_size()
    assert best == pytest.approx((c * f / (n * d)) ** 0.5)
    around = best * np.array([0.5, 0.99, 1.01, 2.0])
    assert (model.time(around) > model.time(best)).all()
    assert model.time(best) == pytest.approx(((n * f) ** 0.5 + (c * d) ** 0.5) ** 2)
    assert model.steps(model.critical_batch_size()) == pytest.approx(2 * n)


def measured(seed, noise=0.02):
    """Steps and step times of a known model (best size 223.6), with errors of 2 %."""
    rng, b = np.random.default_rng(seed), np.array([8, 32, 128, 512, 2048])
    model = TimeModel(iterations=2000, variance_cost=4e5, overhead=5e-3, per_example=2e-5)
    columns = [f(b) for f in (model.steps, model.step_time)]
    noisy = [c * (1 + noise * rng.normal(size=len(b))) for c in columns]
    errors = [noise * c for c in columns]
    return model, (b, *noisy), dict(zip(("steps_stderr", "step_times_stderr"), errors, strict=True))


def assert_fits(columns_of, count=400):
    """Assert the mean and the spread of log b_opt over many fits, within 5 standard errors."""
    off, said = [], []
    for seed in range(count):
        model, columns, errors = columns_of(seed)
        fit = fit_time_model(*columns, **errors)
        off.append(np.log(fit.optimal_batch_size / model.optimal_batch_size()) / fit.log_stderr)
        said.append(fit.log_stderr)
    assert abs(np.mean(off)) < 5 / count**0.5
    assert abs(np.var(off) - 1) < 5 * (2 / count) ** 0.5


def test_the_fit_finds_the_model_and_its_own_error():
    assert_fits(measured)


def test_planted_bugs_in_the_fit_are_noticed():
    def one_column_scaled(seed):
        model, (b, steps, times), errors = measured(seed)
        return model, (b, steps, times * b), errors  # time of an epoch for that of a step

    def errors_halved(seed):
        model, columns, errors = measured(seed)
        return model, columns, {name: e / 2 for name, e in errors.items()}

    for wrong in (one_column_scaled, errors_halved):
        with pytest.raises((AssertionError, ArithmeticError)):
            assert_fits(wrong)


GOOD = {"iterations": 2000, "variance_cost": 4e5, "overhead": 5e-3, "per_example": 2e-5}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [0, -1.0, np.nan, "1", None])
def test_bad_models(name, value):
    with pytest.raises(
        (ValueError, TypeError), match=rf"^{name}=.*: expected a finite number > 0$"
    ):
        TimeModel(**{**GOOD, name: value})


@pytest.mark.parametrize("value", [0, -1, np.nan, "8", None, True, [8, 0], [], [np.nan], ["8"]])
@pytest.mark.parametrize("method", ["steps", "step_time", "time"])
def test_bad_batch_sizes(method, value):
    with pytest.raises((ValueError, TypeError), match=r"^batch_size.*: expected "):
        getattr(TimeModel(**GOOD), method)(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1, 2), "lr=0.0: expected a finite number > 0"),
        ((0.1, 0, 2), "batch_size=0: expected an int >= 1"),
        ((0.1, 1, 2.5), "new_batch_size=2.5: expected an int >= 1"),
    ],
)
def test_bad_scaling(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        scale_lr(*arguments)
    with pytest.raises(ValueError, match="rule='cube': expected one of 'linear', 'sqrt'"):
        scale_lr(0.1, 1, 2, rule="cube")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": [1.0]}, ValueError, "steps: expected 3 values, got 1"),
        ({"steps": [1, 2, 0]}, ValueError, "steps: expected positive numbers, got 0"),
        ({"batch_sizes": [8, 8, 16]}, ValueError, "batch_sizes: expected at least 3 different one"),
        ({"steps": [100, 200, 400]}, ArithmeticError, "the fit gives variance_cost=.*both regimes"),
        ({"step_times": np.ma.ones(3)}, TypeError, "step_times: expected a plain array"),
    ],
)
def test_bad_fits(change, error, message):
    given = {"batch_sizes": [8, 64, 512], "steps": [900, 200, 112], "step_times": [1, 2, 3]}
    given |= {"steps_stderr": [1, 1, 1], "step_times_stderr": [1, 1, 1]} | change
    with pytest.raises(error, match=message):
        fit_time_model(**given)
