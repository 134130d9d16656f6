"""What training keeps in memory, counted tensor by tensor.

Tools that watch Python's own memory see nothing of torch's tensors, and a process's size says when
memory was asked for, not when it was needed. These two meters count bytes as torch hands them out:
the same number on every run.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sgdlib import _check


class SavedBytes:
    """Count the bytes that autograd holds for the backward pass, as a context manager.

    Parameters
    ----------
    exclude
        Tensors that are there anyway, such as ``model.parameters()``.

    Attributes
    ----------
    held
        Bytes held now.
    peak
        The most that was held at once.

    Notes
    -----
    Used in the chapter *Memory and gradient accumulation*.

    Examples
    --------
    >>> x = torch.ones(100, requires_grad=True)
    >>> with SavedBytes() as saved:
    ...     y = x.exp().sum()         # exp keeps its result, 400 bytes
    >>> saved.held
    400
    """

    def __init__(self, exclude: Iterable[torch.Tensor] = ()):
        if not isinstance(exclude, Iterable):
            raise TypeError(f"exclude={_check.shown(exclude)}: expected an iterable of tensors")
        exclude = list(exclude)
        for i, t in enumerate(exclude):
            if not isinstance(t, torch.Tensor):
                raise TypeError(f"exclude[{i}]: expected a tensor, got {type(t).__name__}")
        self._excluded = {t.untyped_storage().data_ptr() for t in exclude}
        self._count: Counter[tuple] = Counter()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)
        self.held = self.peak = 0

    def __enter__(self) -> SavedBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: torch.Tensor) -> _Saved | torch.Tensor:
        if tensor.untyped_storage().data_ptr() in self._excluded:
            return tensor
        size = tensor.numel() * tensor.element_size()
        key = (tensor.data_ptr(), size)
        self._count[key] += 1
        if self._count[key] == 1:  # two layers may save the same tensor
            self.held += size
            self.peak = max(self.peak, self.held)
        return _Saved(tensor, self, key)

    def _release(self, key: tuple) -> None:
        self._count[key] -= 1
        if self._count[key] == 0:
            self.held -= key[1]


class _Saved:
    """A saved tensor that tells its meter when it is let go."""

    __slots__ = ("key", "meter", "tensor")

    def __init__(self, tensor, meter, key):
        self.tensor, self.meter, self.key = tensor, meter, key

    def __del__(self):
        self.meter._release(self.key)


def _unpack(saved: _Saved | torch.Tensor) -> torch.Tensor:
    return saved.tensor if isinstance(saved, _Saved) else saved


class LivePeak(TorchDispatchMode):
    """Count the bytes of all tensors made within the context that are alive at once.

    Attributes
    ----------
    live
        Bytes alive now.
    peak
        The most that was alive at once.
    history
        Bytes alive after each operation, a list.

    Notes
    -----
    A model and an optimizer that are made within the context are counted too. Scratch memory inside
    a single operation is not seen. Used in the chapter *Memory and gradient accumulation*.

    Examples
    --------
    >>> with LivePeak() as memory:
    ...     total = torch.ones(100).exp().sum()      # the ones and their exponentials
    >>> memory.peak, memory.live
    (800, 4)
    >>> memory.history                   # the ones are dropped before the sum
    [400, 800, 404]
    """

    def __init__(self):
        super().__init__()
        self._seen: dict[int, weakref.finalize] = {}
        self.live = self.peak = 0
        self.history: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        """Run the operation and note the storages that it made."""
        before = {_key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and _key(tensor) not in before:
                self._note(tensor.untyped_storage())
        self.history.append(self.live)
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen[key] = weakref.finalize(storage, self._forget, key, size)
            self.live += size
            self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
