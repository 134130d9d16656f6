"""Checkpoints that survive a crash at any moment.

A checkpoint is written beside its place under another name, forced to the disk, and renamed; the
one before it is kept as `<name>.previous`. Whatever happens in between, a complete checkpoint with
one of the two names exists.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import zlib
from pathlib import Path

import torch

_MAGIC = b"sgdlib checkpoint 1\n"
_NUMBERS = 32  # then the length and the checksum of what follows, in decimal digits


class CheckpointError(RuntimeError):
    """A file that is not a complete checkpoint, or belongs to another run."""


def previous_path(path: str | os.PathLike) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(path.name + ".previous")


def save_checkpoint(path: str | os.PathLike, state: dict) -> None:
    """Write `state` to `path` in one indivisible step, and keep the checkpoint before it.

    Parameters
    ----------
    path
        File to write, in a folder that exists.
    state
        Nested dicts and lists of tensors, numbers, strings and None.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; what was saved before is untouched.

    Notes
    -----
    The file is a header with length and CRC-32, then what `torch.save` makes. Used in the chapter
    *The training loop*.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    header = _MAGIC + b"%020d %010d\n" % (len(payload), zlib.crc32(payload))
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(header)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous_path(path))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"{path}: the checkpoint could not be written ({error.strerror}); "
            "the ones saved before are untouched",
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def load_checkpoint(path: str | os.PathLike, *, device: torch.device | str = "cpu") -> dict:
    """Return the state saved at `path`, its tensors on `device`.

    Where `path` itself is missing but the checkpoint before it is there (the computer stopped
    between two renames), that one is returned. Only tensors and plain data are read
    (``weights_only=True``), never code.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    CheckpointError
        If the file is truncated, damaged or not a checkpoint of sgdlib.
    """
    path, previous = Path(path), previous_path(path)
    if not path.exists() and previous.exists():
        path = previous
    try:
        payload = _unwrap(path.read_bytes())
        return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        hint = ""
        if path != previous and previous.exists():
            hint = f"; the checkpoint before it is {previous}: rename it to {path.name} to go on"
        reason = error if isinstance(error, ValueError) else "one that holds more than plain data"
        raise CheckpointError(
            f"{path}: expected a complete checkpoint, got a file that is {reason}{hint}"
        ) from error


def _unwrap(data: bytes) -> bytes:
    """Return what follows the header, or raise ValueError with what is wrong."""
    start = len(_MAGIC) + _NUMBERS
    if not data.startswith(_MAGIC[: len(data)]) or not data:
        raise ValueError("not a checkpoint of sgdlib" if data else "empty")
    if len(data) < start:
        raise ValueError(f"truncated, {len(data)} bytes")
    length, checksum = map(int, data[len(_MAGIC) : start].split())
    payload = data[start:]
    if len(payload) < length:
        raise ValueError(f"truncated, {len(data)} bytes of {start + length}")
    if zlib.crc32(payload) != checksum:
        raise ValueError("damaged, its checksum differs")
    return payload


def _sync_folder(folder: Path) -> None:
    """Force the renames to the disk (where the system lets folders be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
