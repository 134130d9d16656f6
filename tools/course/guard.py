"""What a student sends in is run behind a guard: little memory, little time, nothing to look at.

`nbgrader_config.py` puts `GuardedExecute` in the place of nbgrader's own. Each notebook runs in an
empty folder, with limits on its memory and on the files it writes. Where Linux allows it the kernel
has no network and does not see the course. A kernel that dies is started again, and what was run
before is run again, so that one task that fills the memory costs its own points only.

As a program it sets the limits and becomes the kernel: `python guard.py FOLDERS -- COMMAND`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

MEMORY = 4 << 30  # bytes of address space; importing torch takes two of the four
FILE = 64 << 20  # bytes of a file that is written
CELL_SECONDS = 30
ANSWER_SECONDS = 5
NOTEBOOK_SECONDS = 600
OUTPUT = 20_000  # characters of a cell's output that are kept
RESTARTS = 8
UNSHARE = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
COVER = 'for folder in $FOLDERS; do mount -t tmpfs none "$folder"; done; exec "$@"'


def can_isolate() -> bool:
    """Whether this machine lets us start a process without network and with its own mounts."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return False
    command = [*UNSHARE, "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def become(folders: list[str], command: list[str]) -> None:
    """Set the limits, leave network and folders behind where that is possible, and run a command.

    The folders are named in the variable FOLDERS, one a line, to a shell that covers them.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows, or a limit below ours
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if folders:
        os.environ["FOLDERS"] = "\n".join(folders)
        command = [*UNSHARE, "sh", "-c", f"IFS='\n'; {COVER}", "kernel", *command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    place = sys.argv.index("--")
    become(sys.argv[1:place], sys.argv[place + 1 :])

# Only for what follows are nbgrader and Jupyter needed: the program above has to start fast.
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute

ISOLATED = can_isolate()
HIDDEN: list[str] = []  # folders that no submission may see


class GuardedKernel(AsyncKernelManager):
    """A kernel that is started by the program above; it talks through files, not the network."""

    def __init__(self, **options):
        super().__init__(**options)
        if ISOLATED:
            self.talk = tempfile.TemporaryDirectory(prefix="kernel")
            self.transport, self.ip = "ipc", os.path.join(self.talk.name, "kernel")

    def format_kernel_cmd(self, extra_arguments=None):
        """Return the command that starts the kernel, behind the guard."""
        command = super().format_kernel_cmd(extra_arguments)
        if sys.platform == "win32":  # a program cannot become another one there
            return command
        folders = [folder for folder in HIDDEN if os.path.isdir(folder)] if ISOLATED else []
        return [sys.executable, os.path.abspath(__file__), *folders, "--", *command]


class GuardedExecute(Execute):
    """Runs a submission cell by cell; whatever a cell does, the next one gets its turn."""

    def __init__(self, **options):
        super().__init__(**options | {"kernel_manager_class": GuardedKernel})
        self.timeout = CELL_SECONDS
        self.iopub_timeout = CELL_SECONDS
        self.raise_on_iopub_timeout = False

    def preprocess(self, nb, resources, km=None):
        """Run all cells in an empty folder."""
        self.run_so_far, self.end = [], time.monotonic() + NOTEBOOK_SECONDS
        self.restarts = 0
        with tempfile.TemporaryDirectory(prefix="submission") as empty:
            resources.setdefault("metadata", {})["path"] = empty
            return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        """Run one cell; start a dead kernel again, and keep no more output than one can read."""
        if cell.cell_type != "code":
            return cell, resources
        if time.monotonic() > self.end or self.restarts > RESTARTS:
            cell.outputs = [_error("not run: the notebook has used up its time and its memory")]
            return cell, resources
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        except (DeadKernelError, RuntimeError, TimeoutError) as error:
            cell.outputs = [_error(f"the kernel died ({type(error).__name__}): too much memory?")]
            self.again()
        else:
            errors = {output.get("ename") for output in cell.outputs}
            if not errors & {"CellTimeoutError", "MemoryError", "_ArrayMemoryError"}:
                self.run_so_far.append(cell.source)
            elif "CellTimeoutError" not in errors or not self.answers():
                self.again()  # the memory stays full, or it has not let itself be interrupted
        _shorten(cell)
        return cell, resources

    @run_sync
    async def answers(self):
        """Whether the kernel is there, and free."""
        try:
            await self.kc.execute_interactive("", timeout=ANSWER_SECONDS, output_hook=_ignored)
        except (RuntimeError, TimeoutError):
            return False
        return True

    @run_sync
    async def again(self):
        """Start the kernel anew, and run what had been run."""
        self.restarts += 1
        await self.km.restart_kernel(now=True)
        await self.kc.wait_for_ready(timeout=60)
        for source in self.run_so_far:
            with contextlib.suppress(RuntimeError, TimeoutError):
                await self.kc.execute_interactive(
                    source, timeout=CELL_SECONDS, output_hook=_ignored, allow_stdin=False
                )


def _ignored(message):
    """Leave what a cell prints that is run again."""


def _error(text):
    name = "NotGraded"
    return new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])


def _shorten(cell):
    """Cut what a cell has printed to a length that one can read."""
    left = OUTPUT
    for output in cell.outputs:
        for key in ("text", "evalue"):
            if key in output:
                if len(output[key]) > left:
                    output[key] = output[key][:left] + "\n... (cut here)"
                left = max(0, left - len(output[key]))
    cell.outputs = cell.outputs[:200]
