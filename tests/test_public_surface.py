"""What is public is documented, typed, tested, and in the API page."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sgdlib

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(sgdlib.__path__, "sgdlib.")
    if not any(part.startswith("_") for part in info.name.split("."))
)
PACKAGES = {"sgdlib.book", "sgdlib.deep", "sgdlib.physics"}


PAGE = (ROOT / "chapters/back/api.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"automodule:: (\S+)\n((?: +:\S.*\n)*)")


def public():
    """Yield the functions and classes that the API page shows, with their full names."""
    for module, options in ENTRY.findall(PAGE):
        listed = re.search(r":members: (.+)", options)
        for name, value in vars(importlib.import_module(module)).items():
            if not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            own = value.__module__.startswith(module) and not name.startswith("_")
            if name in listed[1].split(", ") if listed else own:
                yield f"{module}.{name}", value


NAMES = [pytest.param(value, id=name) for name, value in public()]


def test_there_is_something_to_look_at():
    assert len(MODULES) > 30
    assert len(NAMES) > 80


@pytest.mark.parametrize("module", [m for m in MODULES if m not in PACKAGES])
def test_every_module_is_in_the_api_page_and_says_what_it_is(module):
    assert re.search(rf"automodule:: {re.escape(module)}$", PAGE, re.M)
    assert (importlib.import_module(module).__doc__ or "").strip()


@pytest.mark.parametrize("value", NAMES)
def test_every_name_has_a_docstring_and_complete_annotations(value):
    assert (value.__doc__ or "").strip()
    function = value.__init__ if inspect.isclass(value) else value
    if inspect.isclass(value) and (is_result(value) or "__init__" not in vars(value)):
        return  # its fields are annotated
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.annotation is inspect.Parameter.empty
    ]
    assert not missing
    if not inspect.isclass(value):
        assert signature.return_annotation is not inspect.Signature.empty


def is_result(value):
    """Whether a class is what functions return, or a protocol: tests meet it by its fields."""
    protocol = getattr(value, "_is_protocol", False)
    return dataclasses.is_dataclass(value) or hasattr(value, "_fields") or protocol


@pytest.mark.parametrize("value", [n for n in NAMES if not is_result(n.values[0])])
def test_every_name_is_used_in_a_test(value):
    used = re.compile(rf"\b{value.__name__}\b")
    tests = (path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert any(used.search(path.read_text(encoding="utf-8")) for path in tests)
