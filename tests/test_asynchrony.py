"""Timetables: against a slow event queue, and the closed forms of order statistics."""

import heapq

import numpy as np
import pytest

from sgdlib.asynchrony import ServiceTime, Timetable, simulate_async, simulate_sync

EXPONENTIAL = ServiceTime(exponential=1.0)


def event_by_event(times, steps):
    """Return times, staleness and workers of `steps` deliveries: a queue, one event at a time."""
    queue = [(row[0], 0, w) for w, row in enumerate(times.T.tolist())]
    heapq.heapify(queue)
    read, out = [0] * len(queue), []
    for t in range(steps):
        now, count, w = heapq.heappop(queue)
        out.append((now, t - read[w], w))
        read[w] = t + 1
        heapq.heappush(queue, (now + times[count + 1, w], count + 1, w))
    return [np.array(column) for column in zip(*out, strict=True)]


class Recorded(ServiceTime):
    """Remembers what was drawn, replica 0."""

    def draw(self, shape, rng=None):
        out = super().draw(shape, rng)
        self.__dict__.setdefault("seen", []).append(out[0])
        return out


SERVICES = {
    "exponential": {"exponential": 1.0},
    "shifted": {"constant": 0.5, "exponential": 0.5},
    "constant": {"constant": 1.0},
    "commensurable": {"constant": 1.0, "factors": (2.0, 3.0)},
    "straggler": {"exponential": 1.0, "factors": (20.0,)},
    "fast one": {"exponential": 1.0, "factors": (0.01,)},
    "delays": {"constant": 1.0, "delay": 7.0, "delay_chance": 0.1},
}


@pytest.mark.parametrize("law", SERVICES)
@pytest.mark.parametrize("workers", [3, 8])
@pytest.mark.parametrize("steps", [1, 2, 50, 400])
def test_async_is_what_an_event_queue_does(law, workers, steps):
    service = Recorded(**SERVICES[law])
    table = simulate_async(service, workers, steps, replicas=2, rng=workers + steps)
    drawn = np.concatenate([*service.seen, np.ones((steps + 1, workers))])
    times, staleness, who = event_by_event(drawn, steps)
    np.testing.assert_allclose(table.times[:, 0], times, rtol=1e-12)
    np.testing.assert_array_equal(table.staleness[:, 0], staleness)
    np.testing.assert_array_equal(table.workers[:, 0], who)


def test_one_timetable_is_the_first_of_one():
    one = simulate_async(EXPONENTIAL, 4, 30, rng=3)
    also = simulate_async(EXPONENTIAL, 4, 30, replicas=1, rng=3)
    assert one.times.shape == (30,)
    for name in ("times", "staleness", "workers"):
        np.testing.assert_array_equal(getattr(one, name), getattr(also, name)[:, 0])
    assert one == simulate_async(EXPONENTIAL, 4, 30, rng=3)
    assert repr(one).startswith("Timetable((30,), mean staleness")
    assert isinstance(one, Timetable)


def test_a_round_robin_is_one_worker_behind_all_others():
    table = simulate_async(ServiceTime(constant=2.0), 5, 40)
    assert table.staleness.tolist() == [0, 1, 2, 3] + [4] * 36
    assert table.workers.tolist() == [0, 1, 2, 3, 4] * 8
    assert table.times.tolist() == [2.0 * (t // 5 + 1) for t in range(40)]


def assert_geometric(staleness, workers, ratio):
    """P(tau = k) = (1 - ratio) ratio^k, once everyone has delivered."""
    count = len(staleness)
    for k in range(3 * workers):
        p = (1 - ratio) * ratio**k
        assert abs((staleness == k).mean() - p) < 4.5 * np.sqrt(p * (1 - p) / count)


def test_memoryless_workers_have_geometric_staleness():
    """The next to deliver is any of the M with the same chance: mean M - 1."""
    late = simulate_async(EXPONENTIAL, 4, 200, replicas=40_000, rng=1).staleness[-1]
    assert_geometric(late, 4, 1 - 1 / 4)
    assert abs(late.mean() - 3) < 4 * late.std() / 200
    with pytest.raises(AssertionError):  # one delivery too few
        assert_geometric(late, 4, 1 - 1 / 3)
    with pytest.raises(AssertionError):  # the reading counted as an update
        assert_geometric(late + 1, 4, 1 - 1 / 4)


def test_mean_staleness_is_workers_minus_one_whatever_the_law():
    """Between two deliveries of a worker the others deliver tau; summed over all, time is shared.

    Of T deliveries each of n workers is missing at most its last, unfinished stretch.
    """
    for law in SERVICES.values():
        table = simulate_async(ServiceTime(**law), 6, 60_000, rng=0)
        assert table.staleness.mean() == pytest.approx(5, rel=0.01)


def test_throughput_adds_up():
    """n workers make n updates per mean service time; one of factor f makes 1/f of a worker's."""
    table = simulate_async(ServiceTime(exponential=1.0, factors=(10.0,)), 5, 40_000, rng=2)
    rate, error = 40_000 / table.times[-1], 4.1 / 200
    assert abs(rate - 4.1) < 4 * error
    slow = (table.workers == 0).sum()
    assert abs(slow / 40_000 - 0.1 / 4.1) < 4 * np.sqrt(0.1 / 4.1 / 40_000)


def harmonic(n):
    return sum(1 / k for k in range(1, n + 1))


def assert_wait(waits, expected):
    assert abs(waits.mean() - expected) < 4 * waits.std() / np.sqrt(len(waits))


@pytest.mark.parametrize(("workers", "backups"), [(100, 0), (105, 5), (110, 10), (1, 0), (3, 2)])
def test_waiting_for_the_fastest(workers, backups):
    table = simulate_sync(EXPONENTIAL, workers, 20_000, backups=backups, rng=workers)
    waits = np.diff(table.times, prepend=0)
    exact = harmonic(workers) - harmonic(backups)
    assert_wait(waits, exact)
    assert EXPONENTIAL.expected_wait(workers, backups=backups) == pytest.approx(exact, rel=1e-12)
    if workers > 1:
        with pytest.raises(AssertionError):  # waits for one more, or one less
            assert_wait(waits, harmonic(workers) - harmonic(backups + 1))
    assert not table.staleness.any()
    assert (table.workers == -1).all()


def test_published_waits():
    got = [EXPONENTIAL.expected_wait(100 + b, backups=b) for b in (0, 5, 10)]
    np.testing.assert_allclose(got, [5.18738, 2.95260, 2.35327], atol=5e-6)
    shifted = ServiceTime(constant=3.0, exponential=2.0)
    assert shifted.expected_wait(4) == pytest.approx(3 + 2 * (1 + 1 / 2 + 1 / 3 + 1 / 4))


def test_local_steps_add_up_before_the_meeting():
    """Sums of H unit exponentials: the mean of their maximum by the integral of 1 - F^n."""
    from scipy.special import gammainc

    table = simulate_sync(EXPONENTIAL, 10, 20_000, local_steps=4, rng=5)
    grid = np.linspace(0, 60, 200_001)
    exact = np.trapezoid(1 - gammainc(4, grid) ** 10, grid)
    assert_wait(np.diff(table.times, prepend=0), exact)
    with pytest.raises(AssertionError):  # a meeting after each
        assert_wait(np.diff(table.times, prepend=0), 4 * harmonic(10))


def test_a_chance_of_a_delay():
    """100 workers, one in a hundred late by 1: somebody is, with chance 1 - .99^100 = .634."""
    service = ServiceTime(constant=1.0, delay=1.0, delay_chance=0.01)
    waits = np.diff(simulate_sync(service, 100, 20_000, rng=1).times, prepend=0)
    assert_wait(waits, 1 + 1 - 0.99**100)
    assert set(waits.round(9)) == {1.0, 2.0}
    spared = np.diff(simulate_sync(service, 100, 20_000, backups=2, rng=1).times, prepend=0)
    p = 1 - sum(
        np.prod([(100 - j) / (j + 1) for j in range(k)]) * 0.01**k * 0.99 ** (100 - k)
        for k in range(3)
    )
    assert_wait(spared, 1 + p)


def test_replicas_are_independent():
    table = simulate_sync(EXPONENTIAL, 3, 50, replicas=2000, rng=0)
    assert table.times.shape == (50, 2000)
    first = table.times[0]
    assert_wait(first, harmonic(3))
    assert abs(np.corrcoef(first, np.roll(first, 1))[0, 1]) < 4 / np.sqrt(2000)


def test_thousand_workers_hundred_thousand_updates():
    """Large timetables are right too; that they take seconds is seen in the running time."""
    table = simulate_async(EXPONENTIAL, 1000, 100_000, rng=0)
    assert abs(100_000 / table.times[-1] - 1000) < 4 * 1000 / np.sqrt(100_000)
    assert (np.diff(table.times) >= 0).all()
    np.testing.assert_array_equal(np.sort(np.bincount(table.workers, minlength=1000)) > 0, True)


def test_draws_and_what_is_refused():
    service = ServiceTime(constant=1.0, factors=(3.0, 2.0))
    assert service.draw((2, 3)).tolist() == [[3.0, 2.0, 1.0]] * 2
    for build, match in (
        (lambda: ServiceTime(), r"^constant=0.0, exponential=0.0: expected one of them > 0$"),
        (lambda: ServiceTime(constant=-1.0), r"^constant=-1.0: expected a finite number >= 0$"),
        (lambda: ServiceTime(exponential=1.0, delay_chance=2.0), r"^delay_chance=2.0: expected"),
        (lambda: ServiceTime(exponential=1.0, factors=(0.0,)), r"^factors=0.0: expected"),
        (lambda: simulate_async(service, 1, 3), r"^workers=1: expected an int >= 2$"),
        (lambda: simulate_sync(service, 3, 3, backups=3), r"^backups=3: expected an int in 0\.\.2"),
        (lambda: service.expected_wait(3), r"expected a law without delays and factors$"),
        (lambda: service.draw((3, 1)), r"^shape=1: expected an int >= 2$"),
    ):
        with pytest.raises(ValueError, match=match):
            build()
    with pytest.raises(TypeError, match=r"^service=1.0: expected a ServiceTime$"):
        simulate_async(1.0, 3, 3)
