"""From measured numbers to batch size, rate and pieces: against searches and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdlib import LeastSquares, gradient_noise
from sgdlib.capacity import choose_communication, choose_pieces
from sgdlib.recommendation import choose_batch_size, choose_lr, two_batch_noise_scale
from sgdlib.stability import stability_limit

TIMES = {32: 0.009, 256: 0.023}


@given(
    overhead=st.floats(1e-4, 1),
    per_example=st.floats(1e-6, 1e-2),
    noise_scale=st.floats(1, 1e6),
    workers=st.integers(1, 64),
)
def test_the_best_size_is_that_of_a_search(overhead, per_example, noise_scale, workers):
    times = {b: overhead + per_example * b for b in (16, 2048)}
    choice = choose_batch_size(times, noise_scale=noise_scale, workers=workers)

    def time(b):
        return (1 + noise_scale / b) * (overhead + per_example * b / workers)

    grid = np.geomspace(1e-3, 1e9, 20_001)
    if grid[0] < choice.best < grid[-1]:
        assert choice.best == pytest.approx(grid[np.argmin(time(grid))], rel=2e-3)
    assert choice.break_even == pytest.approx(overhead / per_example, rel=1e-6)
    least = time(choice.best)
    for end in choice.band:
        assert time(end) == pytest.approx(1.1 * least, rel=1e-6)
    assert choice.off_by_four == pytest.approx(time(choice.best / 4) / least, rel=1e-6)
    assert 1 < choice.off_by_four <= 1.5625 + 1e-9
    share = choice.batch_size // workers
    assert choice.batch_size == share * workers
    assert share & (share - 1) == 0
    if choice.best > workers:
        assert time(choice.batch_size) <= 1.125 * least


def test_two_batches_find_the_noise_scale_of_a_finite_sum():
    rng = np.random.default_rng(0)
    problem = LeastSquares(rng.normal(size=(400, 5)), rng.normal(size=400))
    theta = np.full(5, 0.3)
    exact = gradient_noise.gradient_noise_scale(problem, theta)
    # E|g_B|^2 = |grad L|^2 + tr(Sigma)/B, exactly
    norms = {b: exact.signal + exact.noise / b for b in (8, 64)}
    assert two_batch_noise_scale(norms) == pytest.approx(exact.estimate, rel=1e-9)
    plug_in = exact.noise / norms[8]  # the biased one, which the same check rejects
    assert plug_in != pytest.approx(exact.estimate, rel=0.05)


def test_two_batches_that_cannot_tell():
    for norms in ({32: 1.0, 256: 0.01}, {32: 1.0, 256: 1.5}):
        with pytest.raises(ArithmeticError, match=r"square_norms=.*average over more batches"):
            two_batch_noise_scale(norms)


def test_rates_and_their_limits():
    sgd = choose_lr(0.1, 32, 256, noise_scale=1000)
    assert (sgd.lr, sgd.limit) == (pytest.approx(0.8), pytest.approx(0.1 * (1 + 1000 / 32)))
    steep = choose_lr(0.1, 32, 256, noise_scale=1000, curvature=4.0, momentum=0.5)
    assert steep.limit == stability_limit(4.0, momentum=0.5) < steep.lr
    adam = choose_lr(0.1, 32, 128, noise_scale=1000, optimizer="adam", curvature=4.0)
    assert (adam.lr, adam.limit) == (pytest.approx(0.2), pytest.approx(0.4))
    down = choose_lr(0.1, 128, 32, noise_scale=1000, optimizer="adam")
    assert down.lr == down.limit == pytest.approx(0.05)


@given(
    fixed=st.floats(0, 1e3),
    slope=st.floats(1e-3, 10),
    gradient=st.floats(0, 10),
    batch_size=st.integers(1, 10_000),
    room=st.floats(1.01, 1e4),
)
def test_pieces_fit_and_one_less_does_not(fixed, slope, gradient, batch_size, room):
    limit = fixed + gradient + room * slope
    memory = {1: fixed + slope, 1001: fixed + 1001 * slope}
    found = choose_pieces(memory, limit=limit, batch_size=batch_size, gradient=gradient)

    def needs(pieces):
        running_total = gradient if pieces > 1 else 0.0
        return fixed + running_total + slope * -(-batch_size // pieces)

    assert found.micro_batch_size == -(-batch_size // found.pieces)
    assert needs(found.pieces) <= limit * (1 + 1e-9)
    if found.pieces > 1:
        assert needs(found.pieces - 1) > limit * (1 - 1e-9)


def test_communication_hides_as_the_rule_says():
    flops, bandwidth, parameters = 4.6e14, 1.8e11, 1e9
    options = {"bandwidth": bandwidth, "per_example": 6 * parameters / flops, "batch_size": 100}
    many = choose_communication(2 * parameters, workers=1000, **options)
    assert many.hidden_from == pytest.approx(flops / bandwidth * 0.999)  # C/W: 2556
    assert many.seconds == pytest.approx(2 * 0.999 * 2 * parameters / bandwidth)
    assert many.exposed == pytest.approx(many.seconds * (1 - 100 / many.hidden_from))
    doubled = choose_communication(4 * parameters, workers=1000, **options)
    assert doubled.hidden_from == pytest.approx(2 * many.hidden_from)
    alone = choose_communication(4 * parameters, workers=1, **options)
    assert (alone.seconds, alone.exposed, alone.hidden_from) == (0, 0, 0)
    enough = {**options, "batch_size": 3000}
    assert choose_communication(2 * parameters, workers=8, **enough).exposed == 0


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({32: 0.009, 256: 0.009}, "takes no longer"),
        ({32: 0.009, 256: 0.08}, "no overhead"),
    ],
)
def test_times_that_say_nothing(times, words):
    with pytest.raises(ArithmeticError, match=rf"step_times=.*{words}"):
        choose_batch_size(times, noise_scale=1000)


def test_memory_that_does_not_suffice():
    with pytest.raises(ArithmeticError, match="not even one example"):
        choose_pieces({32: 8.0, 64: 14.0}, limit=2.1, batch_size=8)
    with pytest.raises(ArithmeticError, match="needs no more"):
        choose_pieces({32: 8.0, 64: 8.0}, limit=2.1, batch_size=8)


@pytest.mark.parametrize(
    ("measured", "error", "words"),
    [
        ({32: 0.009}, ValueError, "step_times={32: 0.009}: expected two batch sizes"),
        ([0.009, 0.023], TypeError, "step_times=.*: expected two batch sizes"),
        ({0: 0.009, 256: 0.023}, ValueError, "step_times: batch size=0: expected an int >= 1"),
        ({32: -1.0, 256: 0.023}, ValueError, "step_times.32.=-1.0: expected a finite number > 0"),
    ],
)
def test_measurements_are_checked(measured, error, words):
    with pytest.raises(error, match=words):
        choose_batch_size(measured, noise_scale=1000)


def test_the_order_of_the_two_does_not_matter():
    turned = dict(reversed(TIMES.items()))
    same = choose_batch_size(turned, noise_scale=1000)
    assert same == choose_batch_size(TIMES, noise_scale=1000)
