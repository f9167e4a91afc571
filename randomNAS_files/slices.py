"""A text stream as columns, cut into slices for truncated backpropagation through time.

The stream is folded into B columns that are read side by side; each slice of some rows is one batch, and the hidden state
is carried from slice to slice. Training slices have random lengths, drawn as in AWD-LSTM (Merity et al. 2018, arXiv
1708.02182, section 5), so that the cuts fall elsewhere in every epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from nas.core.errors import ConfigError
from nas.core.seeds import numpy_generator

IGNORED = -100
"""The target of a padded place: `cross_entropy` leaves it out."""

SHORTEST = 5
_HALVED = 0.05  # share of the slices that are drawn around bptt / 2
_SPREAD = 5.0  # standard deviation of the lengths

Slice = tuple[int, int]  # first row, number of rows


class Columns(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A stream as inputs and targets `(rows, B)` of int64, the target of a word being the word that follows it.

    Args:
        tokens: the stream, `(N,)`.
        batch_size: columns of the whole batch.
        shard: the columns that this process reads.
        pad: keep the last words too, and fill up with ignored targets (evaluation); otherwise the words that do not fill
            a row are left out, fewer than `batch_size` of them (training).

    Raises:
        ConfigError: if the stream is too short for a single row.
    """

    def __init__(
        self, tokens: torch.Tensor, batch_size: int, shard: slice, *, pad: bool, name: str = "batch_size"
    ) -> None:
        predicted = check_length(tokens, batch_size, name)
        rows = -(-predicted // batch_size) if pad else predicted // batch_size
        self.inputs = _fold(tokens[:-1], rows, batch_size, 0)[:, shard]
        self.targets = _fold(tokens[1:], rows, batch_size, IGNORED)[:, shard]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of one slice, `(T, B)` each."""
        start, length = rows
        return self.inputs[start : start + length], self.targets[start : start + length]

    def some_rows(self, start: int, count: int) -> Columns:
        """A stream of those rows only."""
        part = copy(self)
        part.inputs, part.targets = self[start, count]
        return part


def check_length(tokens: torch.Tensor, batch_size: int, name: str) -> int:
    """The number of words to predict. Raises ConfigError if they do not fill one row of `batch_size` columns."""
    predicted = max(len(tokens) - 1, 0)
    if predicted < batch_size:
        raise ConfigError([f"{name} must be at most {predicted}, the number of words to predict, got {batch_size}"])
    return predicted


def _fold(stream: torch.Tensor, rows: int, columns: int, filler: int) -> torch.Tensor:
    stream = stream[: rows * columns].long()
    missing = rows * columns - len(stream)
    return torch.cat([stream, stream.new_full((missing,), filler)]).view(columns, rows).t().contiguous()


def shard_columns(batch_size: int, rank: int, processes: int) -> slice:
    """The columns of a batch that process `rank` owns: a run of them, as even as can be."""
    return slice(batch_size * rank // processes, batch_size * (rank + 1) // processes)


def fixed_slices(rows: int, length: int) -> list[Slice]:
    """Slices of one length, the last one perhaps shorter; for evaluation."""
    return [(start, min(length, rows - start)) for start in range(0, rows, length)]


class RandomSlices(Sampler[list[Slice]]):
    """Slices of random length over all rows, one epoch after another, without end.

    A length is drawn around `bptt` (one in twenty around half of it), is at least 5 and at most bptt + max_delta; the last
    slice of an epoch takes what is left. Every epoch has the same number of slices, the one that is drawn most often, so
    that "epochs" are exact: an epoch's plan is drawn anew until it has that many. The plan of an epoch depends on the seed
    and the epoch only, so iterating from the start and skipping gives what an interrupted run would have seen.
    """

    def __init__(self, rows: int, bptt: int, max_delta: int, seed: int) -> None:
        self.rows, self.bptt, self.max_delta, self.seed = rows, bptt, max_delta, seed
        drawn = Counter(len(self._draw("count", attempt)) for attempt in range(101))
        self._count = min(drawn, key=lambda count: (-drawn[count], count))

    def __len__(self) -> int:
        """Slices an epoch."""
        return self._count

    def __iter__(self) -> Iterator[list[Slice]]:
        epoch = 0
        while True:
            yield from ([piece] for piece in self.plan(epoch))
            epoch += 1

    def plan(self, epoch: int) -> list[Slice]:
        """The slices of one epoch; together they cover each row once."""
        attempt = 0
        while True:
            lengths = self._draw(self.seed, epoch, attempt)
            if len(lengths) == self._count:
                starts = np.cumsum(lengths) - lengths
                return list(zip(starts.tolist(), lengths.tolist(), strict=True))
            attempt += 1

    def _draw(self, *labels: int | str) -> np.ndarray:
        """Lengths that add up to the number of rows."""
        generator = numpy_generator(0, "slices", *labels)
        longest = self.bptt + self.max_delta
        shortest = min(SHORTEST, longest)
        enough = -(-self.rows // shortest)
        centre = np.where(generator.random_sample(enough) < _HALVED, self.bptt / 2, self.bptt)
        # So many are needed only if all are as short as can be; mostly a seventh of them is.
        part, lengths = self.rows // max(int(0.9 * self.bptt), 1) + 64, np.empty(0, np.int64)
        while lengths.sum() < self.rows:
            more = generator.normal(centre[len(lengths) : len(lengths) + part], _SPREAD)
            lengths = np.concatenate([lengths, np.clip(more.astype(np.int64), shortest, longest)])
        ends = np.minimum(np.cumsum(lengths), self.rows)
        return np.diff(ends[: int(np.searchsorted(ends, self.rows)) + 1], prepend=0)
