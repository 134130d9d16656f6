"""Run every program, print one table, and write the data of the book's Performance page.

``python -m benchmarks`` runs all of them in under ten minutes and writes `results.json`.
``python -m benchmarks replicas loading`` runs some, and writes nothing. Each program has a process
of its own, and both sides of each ratio run in it by turns. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results.json"
PROGRAMS = (
    "loading",
    "training_loop",
    "numpy_runs",
    "replicas",
    "ensembles",
    "accumulation",
    "streaming",
    "parallel",
)
PACKAGES = ("numpy", "torch", "scikit-learn", "numba", "datasets")


def processor() -> str:
    """Return what the system calls its kind of processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries; what is missing is left out."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load() -> float:
    """Return the load of the last minute."""
    return round(os.getloadavg()[0], 2)


def run(name: str) -> dict:
    """Run one program in a process of its own, and return what it found."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # a program that wants two says so
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return {"name": name} | json.loads(file.read_text())


def table(programs: list[dict]) -> str:
    """Return all results as lines of text: name, peer, ratio and quartiles, goal, reached."""
    rows = [("name", "peer", "median", "quartiles", "goal", "reached")]
    for program in programs:
        for r in program["results"]:
            low, high = r["quartiles"]
            goal = "" if r["goal"] is None else f"{'<=' if r['at_most'] else '>='} {r['goal']:g}"
            reached = {True: "yes", False: "NO", None: ""}[r["met"]]
            spread = f"{low:.3g} .. {high:.3g}"
            rows.append((r["name"], r["peer"], f"{r['ratio']:.3g}", spread, goal, reached))
        rows += [(s["name"], "", "", "", "", f"skipped: {s['why']}") for s in program["skipped"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    chosen = parser.parse_args(argv).programs
    if unknown := set(chosen) - set(PROGRAMS):
        parser.error(f"{min(unknown)!r}: expected some of {', '.join(PROGRAMS)}")
    before, start = load(), time.perf_counter()
    print(f"{processor()}, {os.cpu_count()} cores, load {before}", versions(), sep="\n", flush=True)
    programs = [run(name) for name in chosen or PROGRAMS]
    seconds = round(time.perf_counter() - start)
    print(f"\n{table(programs)}\n\n{seconds} s, load {before} before and {load()} after")
    if not chosen:
        data = {
            "date": date.today().isoformat(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "versions": versions(),
            "load_before": before,
            "seconds": seconds,
            "programs": programs,
        }
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
