"""`import sgdlib` is quick and brings in NumPy only."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sgdlib

PROBE = """
import json, sys
import numpy
before = set(sys.modules)
import sgdlib
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_import_brings_in_nothing_heavy():
    """Beside NumPy the standard library alone, and of ours only what the first names need."""
    out = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True, text=True)
    new = json.loads(out.stdout)
    others = {name.split(".")[0] for name in new} - set(sys.stdlib_module_names)
    assert others == {"sgdlib"}
    assert not [n for n in new if n.startswith(("sgdlib.physics", "sgdlib.deep", "sgdlib.book"))]


ROOT = Path(sgdlib.__file__).parent


def imports(path):
    """Yield the full names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", [".", "physics"])
def test_core_never_imports_the_rooms_above_it(room):
    forbidden = ("sgdlib.deep", "sgdlib.book", "torch", "matplotlib", "IPython")
    above = forbidden if room == "physics" else (*forbidden, "sgdlib.physics")
    for path in (ROOT / room).glob("*.py"):
        assert not [name for name in imports(path) if name.startswith(above)], path.name


def test_the_ground_floor_imports_the_checks_alone():
    """What is summed, which examples, how the knobs move, what is stable: no arrow between them."""
    for name in ("problems", "populations", "_plan", "schedules", "stability"):
        ours = {n for n in imports(ROOT / f"{name}.py") if n.startswith("sgdlib")}
        assert ours == {"sgdlib._check"}, name


def test_no_module_imports_in_a_circle():
    def inner(path):
        found = [n.removeprefix("sgdlib.").split(".") for n in imports(path) if "sgdlib." in n]
        return {parts[0] for parts in found if (ROOT / f"{parts[0]}.py").exists()}

    arrows = {path.stem: inner(path) for path in ROOT.glob("*.py")}
    list(graphlib.TopologicalSorter(arrows).static_order())  # raises on a circle


def test_modules_come_when_they_are_named():
    program = "import sgdlib, sys; sgdlib.schedules.constant(1.0); "
    program += "sgdlib.physics.stationary.temperature(0.1, 1, 1.0); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout == "False\n", out.stderr
    assert {"schedules", "physics", "deep", "book", "minibatch_sgd"} <= set(dir(sgdlib))
    assert {"stationary", "escape", "annealing"} <= set(dir(sgdlib.physics))
    with pytest.raises(AttributeError, match=r"^module 'sgdlib' has no attribute 'scheduels'$"):
        _ = sgdlib.scheduels


def test_scipy_is_imported_where_it_is_used():
    for path in (*ROOT.glob("*.py"), *ROOT.glob("physics/*.py")):
        for node in ast.parse(path.read_text()).body:  # the top level of the module only
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                assert not [n for n in names if n.split(".")[0] == "scipy"], path.name


def test_every_public_name_exists_and_has_a_docstring():
    for name in sgdlib.__all__:
        assert getattr(sgdlib, name).__doc__, name
