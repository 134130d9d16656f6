"""A progress bar that shows itself only where someone looks, and only if it takes long."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 2.0
# Set in the kernels of notebooks that are open before someone, and inherited by what is started
# from there. A program that executes a notebook from end to end, to build or to check it, tells the
# kernel that nobody is there to answer questions.
_OPEN_NOTEBOOK = ("JPY_SESSION_NAME", "COLAB_RELEASE_TAG", "VSCODE_PID")


def someone_looks() -> bool:
    """Tell whether a bar would be seen: in a terminal, or in a notebook that is open."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython and ipython.get_ipython(), "kernel", None)
    if kernel is None or not getattr(kernel, "_allow_stdin", True) or os.environ.get("BOOK_BUILD"):
        return False
    return any(name in os.environ for name in _OPEN_NOTEBOOK)


@contextmanager
def progress_bar(show: bool | None, examples: int | None) -> Iterator[Callable[[int], object]]:
    """Yield a function that is told how many of the examples are done.

    `show` None means: where someone looks, and after two seconds.
    """
    if not (someone_looks() if show is None else show):
        yield lambda done: None
        return
    from tqdm.auto import tqdm

    delay = _PATIENCE_SECONDS if show is None else 0.0
    with tqdm(total=examples, unit=" examples", unit_scale=True, leave=False, delay=delay) as bar:
        yield lambda done: bar.update(done - bar.n)
