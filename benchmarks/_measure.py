"""Measure two programs against each other: interleaved, after a warmup, with their spread.

A ratio is taken within each pair of neighbouring runs, so that a machine that slows down for a
while slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Comparison:
    """Seconds of both programs and the ratio peer/ours, as (lower quartile, median, upper)."""

    ours: tuple[float, float, float]
    peer: tuple[float, float, float]
    ratio: tuple[float, float, float]
    repeats: int

    def scaled(self, share: int) -> Comparison:
        """Return the comparison with a peer of which only one part in `share` was timed."""
        peer, ratio = (tuple(share * x for x in values) for values in (self.peer, self.ratio))
        return replace(self, peer=peer, ratio=ratio)


@dataclass(frozen=True)
class Result:
    """One line of the table: what was compared with what, the ratio, and what it should be.

    `goal` is a bound on the ratio, from above if `at_most`, otherwise from below; None for a
    comparison that is there to be known, as with compiled code.
    """

    name: str
    peer: str
    ratio: float
    quartiles: tuple[float, float]
    goal: float | None
    units: str
    at_most: bool = False
    repeats: int = 1

    @classmethod
    def faster(
        cls, name: str, peer: str, comparison: Comparison, goal: float | None = None
    ) -> Result:
        """Make the line for "so many times as fast as the peer"."""
        low, middle, high = comparison.ratio
        units = "times as fast"
        return cls(name, peer, middle, (low, high), goal, units, repeats=comparison.repeats)

    @classmethod
    def overhead(cls, name: str, peer: str, comparison: Comparison, goal: float) -> Result:
        """Make the line for "takes so many times as long as the peer, at most"."""
        low, middle, high = comparison.ratio
        spread = (1 / high, 1 / low)
        return cls(name, peer, 1 / middle, spread, goal, "times as long", True, comparison.repeats)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def __str__(self) -> str:
        low, high = self.quartiles
        line = f"{self.name:36s} {self.ratio:9.4g} {self.units:14s} [{low:.4g}, {high:.4g}]"
        if self.goal is not None:
            sign = "<=" if self.at_most else ">="
            line += f"  goal {sign} {self.goal:g}: {'reached' if self.met else 'MISSED'}"
        return f"{line}  ({self.peer})"


@dataclass(frozen=True)
class Skipped:
    """A comparison that could not be made here, and what it would have needed."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name:36s}   skipped: {self.why}"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def compare(
    ours: Callable[[], object],
    peer: Callable[[], object],
    repeats: int = 9,
    calls: tuple[int, int] = (1, 1),
) -> Comparison:
    """Time `ours` and `peer` in turn, `repeats` pairs (at least 7) after one pair as warmup.

    Each time is that of so many `calls` in a row (of ours, of the peer), for one of them.
    """
    if repeats < 7:
        raise ValueError(f"repeats={repeats}: expected at least 7")
    programs = [("ours", ours, calls[0]), ("peer", peer, calls[1])]
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for pair in range(repeats + 1):
        for name, program, count in programs if pair % 2 else reversed(programs):
            start = time.perf_counter()
            for _ in range(count):
                program()
            seconds = (time.perf_counter() - start) / count
            if pair:
                times[name].append(seconds)
    ratios = [p / o for p, o in zip(times["peer"], times["ours"], strict=True)]
    ours_, peer_, ratio = map(quartiles, (times["ours"], times["peer"], ratios))
    return Comparison(ours_, peer_, ratio, repeats)


def report(
    title: str, results: Sequence[Result | Skipped], argv: Sequence[str] | None = None
) -> None:
    """Print the table, and write it as JSON where `--json FILE` asks for it."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    file = parser.parse_args(argv).json
    load = round(os.getloadavg()[0], 2)
    print(f"{title}  (load {load})", *results, sep="\n")
    if file:
        measured = [asdict(r) | {"met": r.met} for r in results if isinstance(r, Result)]
        skipped = [asdict(r) for r in results if isinstance(r, Skipped)]
        data = {"title": title, "load": load, "results": measured, "skipped": skipped}
        with open(file, "w", encoding="utf-8") as out:
            json.dump(data, out, indent=1)
