"""The texts of a trial as the columns that one process trains on and scores, and the slices in which it reads them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nas.core.errors import ConfigError
from randomNAS_files.settings import StreamConfig, fits_text
from randomNAS_files.slices import Columns, RandomSlices, Slice, fixed_slices, shard_columns


class Streams:
    """One process's part of the training and validation streams.

    Args:
        splits: tokens `(N,)` of the texts by name: train, valid, test.
        evaluate_test: whether the test split is to be scored.

    Raises:
        ConfigError: with every problem, if a text is too short for its batches and slices.
    """

    def __init__(
        self,
        splits: Mapping[str, torch.Tensor],
        config: StreamConfig,
        rank: int,
        processes: int,
        *,
        evaluate_test: bool,
    ) -> None:
        lengths = {split: len(tokens) for split, tokens in splits.items()}
        if wrong := fits_text(config, lengths, evaluate_test, exact=True):
            raise ConfigError(wrong)
        self._splits, self._config = splits, config
        self.shard = shard_columns(config.global_batch_size, rank, processes)
        self.train = Columns(splits["train"], config.global_batch_size, self.shard, pad=False)
        self.valid = self._scored("valid", shard_columns(config.eval_batch_size, rank, processes))

    @property
    def columns(self) -> int:
        """How many this process trains on."""
        return len(range(self.shard.start, self.shard.stop))

    def training_slices(self, seed: int) -> RandomSlices:
        """Of random length, one epoch after another."""
        return RandomSlices(len(self.train), self._config.bptt, self._config.max_seq_length_delta, seed)

    def validation_slices(self) -> list[list[Slice]]:
        """Of bptt words, one a batch."""
        return [[piece] for piece in fixed_slices(len(self.valid), self._config.bptt)]

    def whole(self, split: str) -> Columns:
        """A whole text, to be scored by this process alone."""
        return self._scored(split, slice(None))

    def _scored(self, split: str, shard: slice) -> Columns:
        return Columns(self._splits[split], self._config.eval_batch_size, shard, pad=True)
