"""Chapters are executed against the library as it is now, two at a time.

- The execution cache of MyST-NB looks at a notebook's code only. Its folder is therefore named by
  a hash of the library and the pinned environment: after a change there, every chapter runs again
  and no old number can be shown. Folders of earlier keys are removed. After a change of an
  extension every page is read and written anew.
- Notebooks that are not in the cache are executed ahead of the reading, two at once, each kernel
  with one thread (so that two cores are used well, and so that numbers do not depend on timing).
- The seconds of every chapter that was executed are shown at the end, the slowest first. No chapter
  fails by its time: the next machine may be half as fast.
"""

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import create_nb_reader
from sphinx.util import logging

logger = logging.getLogger(__name__)
AT_ONCE = 2


def key(root, inputs):
    """Hash the files named, and those in the folders named, with their names and the Python."""
    digest = hashlib.sha256(sys.version.encode())
    for name in inputs:
        top = Path(root, name)
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def choose_cache(app, config):
    """Name the cache folder by the key; tell the kernels that a book is being built."""
    base = Path(app.outdir).parent / ".jupyter_cache"
    current = base / key(app.confdir, config.execution_key)
    config.nb_execution_cache_path = str(current)
    config.house_key = key(app.confdir, ["_ext"])
    for old in base.glob("*"):
        if old != current:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["BOOK_BUILD"] = "1"


def not_cached(env, cache, docnames):
    """Yield the path and content of each notebook that has to be executed."""
    for docname in docnames:
        path = Path(env.doc2path(docname))
        text = path.read_text(encoding="utf-8")
        reader = create_nb_reader(str(path), env.myst_config, env.mystnb_config, text)
        if reader is None:  # a page without code
            continue
        notebook = reader.read(text)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            yield path, notebook


def execute_ahead(app, env, docnames):
    """Execute into the cache what is not there yet; a failure is left to MyST-NB to report."""
    settings, env.executed_seconds = env.mystnb_config, {}
    if settings.execution_mode != "cache":
        return
    cache = get_cache(settings.execution_cache_path)

    def execute(item):
        path, notebook = item
        logger.info("executing %s", path.name)
        return item, single_nb_execution(
            notebook,
            cwd=str(path.parent),
            timeout=settings.execution_timeout,
            allow_errors=False,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for (path, notebook), result in pool.map(execute, not_cached(env, cache, docnames)):
            if result.err is None:
                env.executed_seconds[path.name] = result.time
                seconds = {"execution_seconds": result.time}
                bundle = CacheBundleIn(notebook, str(path), data=seconds)
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def show_times(app, error):
    """Say how long the chapters took that were executed in this build."""
    seconds = sorted(app.env.executed_seconds.items(), key=lambda item: -item[1])
    if seconds:
        logger.info("seconds of each chapter executed:")
    for name, duration in seconds:
        logger.info("%7.1f  %s", duration, name)


def setup(app):
    """Register the events and the setting ``execution_key``: what the cache depends on."""
    app.add_config_value("execution_key", ["sgdlib", "requirements.txt"], "env")
    app.add_config_value("house_key", "", "env")
    app.connect("config-inited", choose_cache)
    app.connect("env-before-read-docs", execute_ahead)
    app.connect("build-finished", show_times)
    return {"version": "1", "parallel_read_safe": True}
