"""`import sgdlib` is quick and brings in NumPy only."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import sgdlib

PROBE = """
import json, sys, time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import sgdlib
end = time.perf_counter()
print(json.dumps([between - start, end - between, sorted(m.split(".")[0] for m in sys.modules)]))
"""


def probe():
    out = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True, text=True)
    return json.loads(out.stdout)


def test_import_costs_less_than_numpys():
    # The fastest of several runs says what an import costs; the others, how busy the machine is.
    runs = [probe() for _ in range(7)]
    assert min(own for _, own, _ in runs) < min(numpy for numpy, _, _ in runs)


def test_import_brings_in_numpy_only():
    heavy = {"torch", "scipy", "matplotlib", "sklearn", "IPython", "ipywidgets", "tqdm"}
    assert not heavy & set(probe()[2])


def test_core_never_imports_the_rooms_above_it():
    forbidden = ("sgdlib.deep", "sgdlib.book", "torch", "matplotlib", "IPython")
    for path in Path(sgdlib.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{a.name}" for a in node.names]
            assert not [n for n in names if n.startswith(forbidden)], path.name


def test_scipy_is_imported_where_it_is_used():
    for path in Path(sgdlib.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:  # the top level of the module only
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                assert not [n for n in names if n.split(".")[0] == "scipy"], path.name


def test_every_public_name_exists_and_has_a_docstring():
    for name in sgdlib.__all__:
        assert getattr(sgdlib, name).__doc__, name
