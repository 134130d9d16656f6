"""Modules that are imported when they are first named: ``import sgdlib; sgdlib.schedules``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType


def lazy(package: str) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package, which know its public modules."""
    module = sys.modules[package]

    def public() -> list[str]:
        names = (info.name for info in pkgutil.iter_modules(module.__path__))
        return [name for name in names if not name.startswith("_")]

    def __getattr__(name: str) -> ModuleType:
        if name in public():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*vars(module), *public()})

    return __getattr__, __dir__
