"""The timing helper, and the benchmarks' way to compare."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from sgdlib.deep import benchmark
from sgdlib.deep.timing import synchronize

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks._measure import Result, compare, report


def test_a_known_duration_is_found():
    timing = benchmark(lambda: time.sleep(0.002), repeats=7, min_seconds=0.004)
    assert timing.calls >= 1
    assert len(timing.seconds) == 7
    assert timing.seconds.min() >= 0.002
    assert timing.lower <= timing.median <= timing.upper


def test_warmup_is_not_measured():
    calls = []

    def slow_at_first():
        calls.append(None)
        time.sleep(0.1 if len(calls) <= 2 else 0.0)

    timing = benchmark(slow_at_first, repeats=3, warmup=2, min_seconds=0)
    assert timing.seconds.max() < 0.1
    assert len(calls) == 2 + 1 + 3


def test_a_measurement_is_long_enough():
    timing = benchmark(lambda: time.sleep(0.0005), repeats=3, min_seconds=0.01)
    assert timing.calls >= 8
    assert timing.seconds.min() * timing.calls > 0.004


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


def test_compare_interleaves_and_takes_ratios_of_neighbours():
    order = []

    def ours():
        order.append("ours")
        time.sleep(0.001)

    def peer():
        order.append("peer")
        time.sleep(0.003)

    result = compare(ours, peer, repeats=7)
    assert order.count("ours") == order.count("peer") == 8
    assert all({order[i], order[i + 1]} == {"ours", "peer"} for i in range(0, 16, 2))
    assert result.ratio[0] <= result.ratio[1] <= result.ratio[2]
    assert result.ratio[1] > 1
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
