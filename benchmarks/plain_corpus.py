"""Text to tensors in the plain manner of 2019: a dictionary that every word is added to, and a tensor filled word by word."""

from __future__ import annotations

from pathlib import Path

import torch


class Dictionary:
    """Words and their numbers, in order of first appearance."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.words: list[str] = []

    def add_word(self, word: str) -> int:
        """The word's number, a new one if the word is new."""
        if word not in self.numbers:
            self.numbers[word] = len(self.words)
            self.words.append(word)
        return self.numbers[word]

    def __len__(self) -> int:
        return len(self.words)


class PlainCorpus:
    """The three texts in a folder."""

    def __init__(self, folder: Path, form: str) -> None:
        self.dictionary = Dictionary()
        self.train, self.valid, self.test = (
            self.tokenise(folder / form.format(split)) for split in ("train", "valid", "test")
        )

    def tokenise(self, path: Path) -> torch.Tensor:
        """Count the words of a file, then read it once more and write down their numbers."""
        count = 0
        with path.open(encoding="utf-8") as file:
            for line in file:
                words = [*line.split(), "<eos>"]
                count += len(words)
                for word in words:
                    self.dictionary.add_word(word)
        ids = torch.LongTensor(count)
        with path.open(encoding="utf-8") as file:
            position = 0
            for line in file:
                for word in [*line.split(), "<eos>"]:
                    ids[position] = self.dictionary.numbers[word]
                    position += 1
        return ids
