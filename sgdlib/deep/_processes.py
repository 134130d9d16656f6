"""The processes that torchrun started: joining them, talking, and losing one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from sgdlib import _check

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# What torch says where a partner is gone or silent.
_LOST = re.compile(
    r"(connect\w*|timed out|timeout|broken pipe|socket|remote process|nccl)[^.\[\n]{0,80}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which of them this is.

    Attributes
    ----------
    rank, size
        This process counts as `rank` in 0..size-1.
    device
        Where it computes: one GPU for each process of a machine, or the CPU.
    restarts
        How often torchrun has started all of them anew.
    """

    rank: int
    size: int
    device: torch.device
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def part(self, rows: int) -> slice:
        """Return which of so many rows are this process's: no two parts differ by more than one."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Put the sum over all processes into `tensor`."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, mine: Any) -> list:
        """Return what each process has, in the order of their ranks."""
        everyone: list = [mine] * self.size
        if self.size > 1:
            dist.all_gather_object(everyone, mine)
        return everyone


def current() -> Processes:
    """Return the processes that were joined, or this one alone."""
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RuntimeError(
                f"{os.environ['WORLD_SIZE']} processes were started and have not met: expected "
                "the training within `with processes():`"
            )
        return Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    device = torch.device("cpu")
    if dist.get_backend() == "nccl":
        device = torch.device("cuda", torch.cuda.current_device())
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return Processes(dist.get_rank(), dist.get_world_size(), device, restarts)


@contextmanager
def processes(*, timeout: float = 60.0) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, and leave them at the end.

    Without torchrun the process is alone, and the same program is an ordinary one.

    Parameters
    ----------
    timeout
        Seconds to wait for a process that does not start, or does not answer.

    Yields
    ------
    Processes

    Raises
    ------
    TimeoutError
        If not all processes start.
    OSError
        If the port at which they meet is in use.
    ConnectionError
        If a process is lost later: it died, or was silent for longer than `timeout`. The others
        end by this error, and torchrun, which names the one that died, starts all of them anew if
        it was called with ``--max-restarts``.
    ValueError
        For a bad timeout, or where a variable that torchrun sets is missing.

    Notes
    -----
    NCCL where each process of the machine has a GPU of its own, gloo otherwise. Used in the chapter
    *Data parallel training*.

    Examples
    --------
    >>> with processes() as group:  # not under torchrun
    ...     group.rank, group.size
    (0, 1)
    """
    timeout = _check.number("timeout", timeout, above=0)
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        yield current()
        return
    for name in _NEEDED:
        if name not in os.environ:
            raise ValueError(f"{name}: expected in the environment, where torchrun puts it")
    _meet(timeout)
    try:
        yield current()
    except RuntimeError as error:
        if reason := _LOST.search(str(error)):
            raise _lost(timeout, reason.group()) from error
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _meet(timeout: float) -> None:
    """Start torch's process group, and say in one sentence why that failed."""
    rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    local = int(os.environ.get("LOCAL_RANK", rank))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    on_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= here
    if on_gpu:
        torch.cuda.set_device(local)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=_own_store(timeout),
            rank=int(rank),
            world_size=int(size),
            timeout=timedelta(seconds=timeout),
        )
    except (dist.DistNetworkError, dist.DistStoreError, RuntimeError) as error:
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise OSError(
                f"MASTER_PORT={os.environ['MASTER_PORT']}: expected a free port, another program "
                "uses this one; torchrun --standalone finds one"
            ) from error
        if isinstance(error, dist.DistStoreError):
            raise TimeoutError(
                f"rank {rank}: expected {size} processes at {place}, not all of them came within "
                f"{timeout:g} s; start the others, or give timeout= more seconds"
            ) from error
        if reason := _LOST.search(str(error)):
            raise _lost(timeout, reason.group()) from error
        raise


def _own_store(timeout: float) -> dist.Store:
    """Return the place where the processes of this start, and no earlier one, write addresses.

    Torchrun keeps one store over all restarts; in it are the addresses of processes that died.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    elastic = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        size,
        is_master=rank == 0 and not elastic,
        timeout=timedelta(seconds=timeout),
    )
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"sgdlib/{size}/{start}", store)


def _lost(timeout: float, reason: str) -> ConnectionError:
    return ConnectionError(
        f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: another process died or was "
        f"silent for {timeout:g} s ({reason.strip()}); with checkpoint= and torchrun's "
        "--max-restarts the run goes on from where it was saved"
    )
