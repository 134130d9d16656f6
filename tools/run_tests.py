"""Run everything that is checked, part by part, and print the time of each.

The linters, the types, the unit tests and doctests, every notebook against its stored output, the
strict build of the book, and its pages in a browser. The parts all run, whatever fails before;
the exit code is 1 if any failed. Where there is no browser its tests are named as skipped, unless
``CI=true``: then that is a failure.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PYTEST = [PYTHON, "-m", "pytest", "-q"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HUNG_CELL_SECONDS = 900
COURSE = ("tools/course/practice_source.py", "tools/course/grade.py")


def browser():
    """Return the path of an installed Chromium or Chrome, or None."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)


def plain_kernels():
    """Return the environment in which NumPy and torch compute without this processor's extras."""
    command = [PYTHON, "-c", "from numpy._core import _multiarray_umath as m; print(*(f for f in "]
    command[-1] += "m.__cpu_dispatch__ if m.__cpu_features__[f]))"
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plain = {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": found.strip(),
    }
    if platform.machine().lower() in ("x86_64", "amd64"):
        plain["OPENBLAS_CORETYPE"] = "Prescott"
    return plain


def parts():
    """Yield name, command and environment of each part; one with the command None is skipped."""
    yield "ruff check", [PYTHON, "-m", "ruff", "check", "."], {}
    yield "ruff format", [PYTHON, "-m", "ruff", "format", "--check", "."], {}
    yield "types", [PYTHON, "-m", "pyrefly", "check", "--python-interpreter-path", PYTHON], {}
    in_two = ["-n", "2", "--dist", "loadfile"]  # a file's tests share what they build
    yield "unit tests", [*PYTEST, *in_two, "--ignore=tests/browser", "tests"], {}
    yield "doctests", [*PYTEST, "--doctest-modules", "sgdlib", "_ext", *COURSE], {}
    notebooks = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={HUNG_CELL_SECONDS}"]
    yield "notebooks, plain", [*PYTEST, *notebooks, *in_two, "chapters"], plain_kernels()
    yield "book", ["make", "--no-print-directory", "book"], {}
    two_pages = [*PYTEST, "-n", "2", "tests/browser"]  # dealt out by tests/browser/conftest.py
    yield "pages in a browser", two_pages if browser() else None, {}


def main():
    """Run the parts and print the table."""
    results = []
    for name, command, environment in parts():
        print(f"\n── {name}", flush=True)
        start = time.perf_counter()
        if command is None:
            tests = sorted(path.name for path in (ROOT / "tests/browser").glob("test_*.py"))
            print(f"No browser found ({', '.join(BROWSERS)}, or the variable CHROMIUM).")
            print(f"Skipped: {', '.join(tests)}")
            verdict = "FAILED" if os.environ.get("CI") == "true" else "skipped"
            result = f"{verdict}: no browser"
        else:
            if environment:
                print(*(f"{name}={value!r}" for name, value in environment.items()), flush=True)
            env = os.environ | environment
            code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
            result = "passed" if code == 0 else f"FAILED (exit code {code})"
        results.append((name, time.perf_counter() - start, result))

    print("\n── times")
    for name, seconds, result in results:
        print(f"{name:20s} {seconds:7.1f} s  {result}")
    print(f"{'in all':20s} {sum(seconds for _, seconds, _ in results):7.1f} s")
    sys.exit(any(result.startswith("FAILED") for _, _, result in results))


if __name__ == "__main__":
    main()
