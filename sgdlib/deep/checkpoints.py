"""Checkpoints that survive a crash at any moment.

A checkpoint is written beside its place under another name, forced to the disk, and renamed; the
one before it is kept as `<name>.previous`. Whatever happens in between, a complete checkpoint with
one of the two names exists.

The file is what `torch.save` makes, a zip archive. Torch's reader does not compare the checksums
of its entries, and they do not cover all bytes: so a checksum of the whole stands at the very end,
in the place that the format has for a comment.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sgdlib import _check
from sgdlib.deep._inputs import named_device

_MARK = b"sgdlib checkpoint "  # then the CRC-32 of all that comes before it, in hexadecimal
_DIGITS = 8
_LARGEST_BITS = 2000  # of an int: the reader takes 255 bytes

_KINDS = {"b": bool, "i": int, "u": int, "f": float, "c": complex, "U": str, "S": bytes}
_SIMPLE = (bool, int, float, complex, str, bytes)
_READABLE = (type(None), bool, float, complex, str, bytes, torch.dtype, torch.device)


class CheckpointError(RuntimeError):
    """A file that is not a complete checkpoint, or belongs to another run."""


def previous_path(path: str | os.PathLike) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    path = _path("path", path)
    return path.with_name(path.name + ".previous")


def _path(name, path):
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}={_check.shown(path)}: expected a path")
    if not Path(path).name:
        raise ValueError(f"{name}={str(path)!r}: expected the path of a file")
    return Path(path)


def check_path(name: str, path: str | os.PathLike) -> Path:
    """Return `path` if a checkpoint can be written there, or raise OSError or TypeError."""
    path = _path(name, path)
    for place in (path, previous_path(path)):
        if place.exists() and not place.is_file():
            kind = "a folder" if place.is_dir() else "no ordinary file"
            raise IsADirectoryError(f"{name}={str(path)!r}: expected a file, {place} is {kind}")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        wrong = PermissionError if path.parent.is_dir() else FileNotFoundError
        raise wrong(f"{name}={str(path)!r}: expected a folder that exists and is writable")
    return path


def check_checkpoint(path, every) -> tuple[Path | None, int | None]:
    """Return a run's checkpoint and how often to save it; raise if it cannot be written."""
    if path is None and every is not None:
        raise ValueError(f"checkpoint_every={_check.shown(every)}: expected checkpoint= as well")
    if path is None:
        return None, None
    if every is not None:
        every = _check.integer("checkpoint_every", every)
    try:
        return check_path("checkpoint", path), every
    except OSError as error:
        raise ValueError(str(error)) from None


def save_checkpoint(path: str | os.PathLike, state: dict) -> None:
    """Write `state` to `path` in one indivisible step, and keep the checkpoint before it.

    Parameters
    ----------
    path
        File to write, in a folder that exists.
    state
        Nested dicts, lists, tuples and sets of tensors, numbers, strings and None. What has an
        equal among these is written as that: NumPy's numbers as Python's, its arrays as tensors,
        paths as strings, named tuples as tuples.

    Raises
    ------
    TypeError, ValueError
        If `state` holds anything else, in a sentence that names its place; nothing is written.
    OSError
        If `path` is a folder, the disk is full or the folder is missing or cannot be written; what
        was saved before is untouched.

    Notes
    -----
    ``torch.load(path, weights_only=True)`` reads the file too. Used in the chapter *The training
    loop*.
    """
    path = check_path("path", path)
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected a dict, got {type(state).__name__}")
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = _MARK + b"0" * _DIGITS
    data = buffer.getbuffer()
    data[-_DIGITS:] = b"%08x" % zlib.crc32(data[:-_DIGITS])
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
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
    path, previous, device = _path("path", path), previous_path(path), named_device(device)
    if not path.exists() and previous.exists():
        path = previous
    try:
        if path.is_dir():
            raise ValueError("a folder")
        data = path.read_bytes()
        _check_whole(data)
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        hint = ""
        if path != previous and previous.exists():
            hint = f"; the checkpoint before it is {previous}: rename it to {path.name} to go on"
        reason = error if type(error) is ValueError else "one that holds more than plain data"
        raise CheckpointError(
            f"{path}: expected a complete checkpoint, got a file that is {reason}{hint}"
        ) from error


def _check_whole(data: bytes) -> None:
    """Raise ValueError with what is wrong unless `data` is all that was written."""
    body = data[:-_DIGITS]
    if not data:
        raise ValueError("empty")
    if body.endswith(_MARK):
        if data[-_DIGITS:] != b"%08x" % zlib.crc32(body):
            raise ValueError("damaged, its checksum differs")
        return
    cut = _MARK in data[-len(_MARK) - _DIGITS :] or not zipfile.is_zipfile(io.BytesIO(data))
    if cut and b"PK\x03\x04".startswith(data[:4]):
        raise ValueError(f"truncated, {len(data)} bytes")
    raise ValueError("not a checkpoint of sgdlib")


def plain(value: Any, name: str = "state") -> Any:
    """Return an equal of `value` that `load_checkpoint` reads, or raise TypeError or ValueError.

    `name` says where `value` stands, for the sentence.
    """
    try:
        return _plain(value, name)
    except RecursionError:
        raise ValueError(f"{name}: expected nothing that contains itself") from None


def _plain(value, name):
    if type(value) in _READABLE or type(value) is bytearray:
        return value
    if isinstance(value, np.generic):
        kind = _KINDS.get(value.dtype.kind)
        exact = kind and kind(value)
        if kind and (exact == value or value != value):
            return exact
    elif isinstance(value, torch.Tensor):
        if type(value) in (torch.Tensor, torch.nn.Parameter) and not value.is_meta:
            return value
    elif type(value) in (np.ndarray, np.memmap):
        try:
            return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
        except TypeError:
            raise TypeError(f"{name}: expected numbers, got an array of {value.dtype}") from None
    elif isinstance(value, _SIMPLE):  # a subclass: an IntEnum is its int
        value = next(kind(value) for kind in _SIMPLE if isinstance(value, kind))
        if not isinstance(value, int) or value.bit_length() <= _LARGEST_BITS:
            return value
        raise ValueError(f"{name}: expected an int below 2**{_LARGEST_BITS}")
    elif isinstance(value, os.PathLike):
        return _plain(os.fspath(value), name)
    elif isinstance(value, Mapping):
        items = {_plain_key(k, name): _plain(v, f"{name}[{k!r}]") for k, v in value.items()}
        if isinstance(value, OrderedDict):
            items = OrderedDict(items)
            if hasattr(value, "_metadata"):  # the versions of a model's layers
                items._metadata = _plain(value._metadata, f"{name}._metadata")
        return items
    elif isinstance(value, list | tuple):
        items = [_plain(v, f"{name}[{i}]") for i, v in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    elif isinstance(value, set | frozenset):
        return {_plain_key(v, name) for v in value}
    raise TypeError(
        f"{name}: expected tensors, numbers, strings, None, or dicts, lists, tuples or sets of "
        f"them, got {type(value).__name__}"
    )


def _plain_key(key, name):
    """Return a dict's key or a set's member, which must not be a tensor: it is found by value."""
    if isinstance(key, torch.Tensor):
        raise TypeError(f"{name}: expected keys that compare by value, got a tensor")
    return _plain(key, f"{name} key {key!r}")


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
