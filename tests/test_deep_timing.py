"""The timing helper, and the benchmarks' way to compare."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sgdlib.deep import benchmark
from sgdlib.deep.timing import synchronize

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks._measure import Result, compare, report


class Clock:
    """A clock that moves only when it is told to: how busy the machine is has no part in it."""

    def __init__(self):
        self.now, self.calls = 0.0, 0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds
        self.calls += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def test_a_known_duration_is_found(clock):
    durations = iter([9.0, 9.0, *[1.0, 2.0, 3.0, 4.0, 5.0] * 9])
    timing = benchmark(lambda: clock.work(next(durations)), repeats=5, min_seconds=0)
    assert timing.calls == 1
    np.testing.assert_allclose(sorted(timing.seconds), [1, 2, 3, 4, 5])
    assert (timing.lower, timing.median, timing.upper) == (2.0, 3.0, 4.0)


def test_warmup_is_not_measured(clock):
    def slow_at_first():
        clock.work(0.1 if clock.calls < 2 else 0.001)

    timing = benchmark(slow_at_first, repeats=3, warmup=2, min_seconds=0)
    assert timing.seconds.max() < 0.0011
    assert clock.calls == 2 + 1 + 3


def test_a_measurement_is_long_enough(clock):
    timing = benchmark(lambda: clock.work(0.0006), repeats=3, min_seconds=0.01)
    assert timing.calls == 32  # the first power of two that takes 10 ms
    assert timing.median == pytest.approx(0.0006)


def test_the_device_is_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    benchmark(lambda: None, repeats=3, warmup=0, min_seconds=0, device="cuda")
    assert len(waits) == 2 * (1 + 3)
    synchronize("cpu")
    assert len(waits) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 2}, "repeats=2"),
        ({"warmup": -1}, "warmup=-1"),
        ({"min_seconds": float("nan")}, "min_seconds=nan"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        benchmark(lambda: None, **options)


def test_compare_interleaves_and_takes_ratios_of_neighbours(clock):
    order = []

    def ours():
        order.append("ours")
        clock.work(0.001 if len(order) < 8 else 0.002)

    def peer():
        order.append("peer")
        clock.work(0.003 if len(order) < 8 else 0.006)  # slowed down alike

    result = compare(ours, peer, repeats=7)
    assert order.count("ours") == order.count("peer") == 8
    assert all({order[i], order[i + 1]} == {"ours", "peer"} for i in range(0, 16, 2))
    assert result.ratio[0] <= result.ratio[1] <= result.ratio[2]
    assert result.ratio[1] == pytest.approx(3)
    with pytest.raises(ValueError, match="repeats=3"):
        compare(ours, peer, repeats=3)


def test_report_prints_and_writes(tmp_path, capsys):
    results = [
        Result("batches", "DataLoader", 50.0, (48.0, 52.0), 45.0, "times the peer's rate"),
        Result("overhead", "bare loop", 1.05, (1.0, 1.1), 1.03, "times the peer's time", True),
    ]
    report("Loading", results, ["--json", str(tmp_path / "out.json")])
    printed = capsys.readouterr().out
    assert "MISSED" not in printed.splitlines()[1]
    assert "MISSED" in printed.splitlines()[2]
    written = json.loads((tmp_path / "out.json").read_text())["results"]
    assert written[0]["name"] == "batches"
    assert written[0]["quartiles"] == [48.0, 52.0]
    assert set(written[1]) >= {"name", "peer", "ratio", "quartiles", "goal", "units"}


@pytest.mark.parametrize("bad", [None, "a", 3, [], object()])
def test_what_cannot_be_called_or_waited_for_is_named(bad):
    with pytest.raises(TypeError, match=r"function=.*expected a function"):
        benchmark(bad)
    if bad is not None:
        with pytest.raises((TypeError, ValueError), match=r"device=.*expected a device"):
            benchmark(lambda: None, device=bad)
