"""The order of a stream: blocks of rows that lie together, in a random order, mixed some at a time.

A plan is a function of the seed and the epoch; nothing of it is kept between epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """Which rows when: for files of so many rows, a function of the seed and the epoch."""

    sizes: tuple[int, ...]
    block: int
    mix: int
    seed: int

    def part(self, epoch: int, part: int = 0, parts: int = 1) -> Part:
        """Return one of `parts` equal stretches of the epoch's order of blocks.

        Where a stretch ends within a block, the block is cut: parts differ by one row at most.
        """
        sizes = np.array(self.sizes, dtype=np.int64)
        counts = -(-sizes // self.block)
        which = np.repeat(np.arange(len(sizes)), counts)
        inside = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = (np.cumsum(sizes) - sizes)[which] + inside * self.block
        lengths = np.minimum(self.block, sizes[which] - inside * self.block)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(which))
        starts, lengths = starts[order], lengths[order]
        n, ends = int(sizes.sum()), np.cumsum(lengths)
        low, high = part * n // parts, (part + 1) * n // parts
        first = np.maximum(low - (ends - lengths), 0)  # what of each block belongs to others
        behind = np.maximum(ends - high, 0)
        mine = first + behind < lengths
        starts, lengths = (starts + first)[mine], (lengths - first - behind)[mine]
        return Part(starts, lengths, self.mix, (self.seed, epoch, 1 + part))


@dataclass(frozen=True)
class Part:
    """Blocks in their order, and how the rows of each mixture are put into a random order."""

    starts: np.ndarray
    lengths: np.ndarray
    mix: int
    seed: tuple[int, int, int]

    @property
    def groups(self) -> int:
        """Number of mixtures."""
        return -(-len(self.starts) // self.mix)

    def blocks(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return first rows and lengths of the blocks of a mixture."""
        cut = slice(group * self.mix, (group + 1) * self.mix)
        return self.starts[cut], self.lengths[cut]

    def rows(self, group: int) -> np.ndarray:
        """Return the rows of a mixture, block after block."""
        return np.concatenate(
            [np.arange(s, s + k) for s, k in zip(*self.blocks(group), strict=True)]
        )

    def shuffled(self, group: int) -> np.ndarray:
        """Return a permutation of the places of a mixture."""
        count = int(self.blocks(group)[1].sum())
        return np.random.default_rng([*self.seed, 1 + group]).permutation(count)

    def begin(self, done: int) -> tuple[int, int]:
        """Return the mixture in which row `done` of the part lies, and its place there."""
        ends = np.cumsum(np.add.reduceat(self.lengths, np.arange(0, len(self.starts), self.mix)))
        group = int(np.searchsorted(ends, done, side="right"))
        return group, done - int(ends[group - 1]) if group else done
