"""Arrays that lie on disk in several `.npy` files, the shards: looked at first, then read in parts.

Nothing is mapped into memory and no object is ever unpickled: the header of each file says where
its rows begin, and `preadv` reads some of them to a place that is given. What is wrong with a file
is one sentence with its name, before anything is read (`look`) or in the middle of a run (`read`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy

from sgdlib import _check


class ShardError(OSError):
    """A file that is missing, cut short, or not the array that it should be; it is named."""


@dataclass(frozen=True)
class Shard:
    """One file: rows of one shape and type, from `offset` on, `size` bytes in all."""

    path: str
    rows: int
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype
    offset: int
    size: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def read(self, start: int, into: np.ndarray) -> None:
        """Read ``len(into)`` rows from row `start` on into a contiguous array."""
        left = memoryview(into.reshape(-1).view(np.uint8))
        place = self.offset + start * self.row_bytes
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                if (size := os.fstat(file).st_size) != self.size:
                    raise ShardError(
                        f"{self.path}: the file has {size} bytes, and had {self.size} when the "
                        "stream was made"
                    )
                while left:
                    if not (count := os.preadv(file, [left], place)):
                        raise ShardError(f"{self.path}: the file ends before row {start}")
                    left, place = left[count:], place + count
            finally:
                os.close(file)
        except ShardError:
            raise
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be read any more: {error.strerror}") from error


def look(path: str) -> Shard:
    """Return what the header of a `.npy` file says, if the file is as long as that."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            shape, fortran, dtype = _header(path, file)
            offset = file.tell()
    except ShardError:
        raise
    except OSError as error:
        raise ShardError(f"shards: {path}: cannot be read: {error.strerror or error}") from error
    if dtype.hasobject or dtype.kind not in "biuf" or not dtype.isnative:
        raise ShardError(
            f"shards: {path}: expected numbers in this machine's byte order, got dtype {dtype}"
        )
    if not shape:
        raise ShardError(f"shards: {path}: expected an array with rows, got a single number")
    if fortran and len(shape) > 1:
        raise ShardError(
            f"shards: {path}: expected an array stored by rows, got one stored by columns"
        )
    shard = Shard(path, shape[0], shape[1:], dtype, offset, size)
    if not shard.row_bytes:
        raise ShardError(f"shards: {path}: expected rows of at least one number, got shape {shape}")
    expected = offset + shard.rows * shard.row_bytes
    if size != expected:
        what = "cut short" if size < expected else "too long"
        raise ShardError(
            f"shards: {path}: {what}: expected {expected} bytes by its header, got {size}"
        )
    return shard


def _header(path: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(file)
    except ValueError as error:
        raise ShardError(
            f"shards: {path}: expected a .npy file: {' '.join(str(error).split())}"
        ) from error


def look_at_all(shards: Any) -> list[list[Shard]]:
    """Return the shards of each array; all of an array are alike, and the arrays have equal rows.

    `shards` is a list of paths, or a list of such lists, one for each array.
    """
    columns = _check.sequence("shards", shards)
    if columns and all(isinstance(entry, str | os.PathLike) for entry in columns):
        columns = [columns]
    found = [[look(_path(entry)) for entry in _files(column)] for column in columns]
    if not found or not found[0]:
        raise ValueError(f"shards={_check.shown(shards)}: expected at least one file")
    for column in found:
        if len(column) != len(found[0]):
            raise ValueError(
                f"shards: expected as many files for each array, got {[len(c) for c in found]}"
            )
        for shard, paired in zip(column, found[0], strict=True):
            _alike(shard, column[0], "shape", "rows of shape {}")
            _alike(shard, column[0], "dtype", "dtype {}")
            _alike(shard, paired, "rows", "{} rows")
    if not sum(shard.rows for shard in found[0]):
        raise ValueError(f"shards: expected data, got {len(found[0])} files without a row")
    return found


def _alike(shard: Shard, model: Shard, name: str, words: str) -> None:
    got, expected = getattr(shard, name), words.format(getattr(model, name))
    if got != getattr(model, name):
        raise ShardError(
            f"shards: {shard.path}: expected {expected}, as in {model.path}, got {got}"
        )


def _files(column: Any) -> list:
    if isinstance(column, str | os.PathLike):
        raise TypeError("shards: expected paths, or a list of paths for each array, got both")
    return _check.sequence("shards", column)


def _path(entry: Any) -> str:
    if not isinstance(entry, str | os.PathLike):
        raise TypeError(f"shards: expected paths, got {_check.shown(entry)}")
    return os.fsdecode(os.fspath(entry))
