"""Token ids of texts: words split on white space, numbered by the first text's vocabulary in order of first appearance.

Every line ends with <eos>, blank lines too, as is usual for WikiText-2. Words that the first text lacks become <unk>.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count

import numpy as np

EOS, UNK = "<eos>", "<unk>"
PIECE = 16_384  # characters; so many, their words included, stay in a CPU's cache, and a large text takes little memory


@dataclass(frozen=True)
class Tokens:
    """Some texts as numbers.

    Attributes:
        ids: of each text, int64 of shape (tokens,).
        vocabulary: `vocabulary[id]` is the word.
    """

    ids: dict[str, np.ndarray]
    vocabulary: tuple[str, ...]


def tokenise(text: str) -> Iterator[str]:
    """The words of a text, split on white space, with <eos> after every line, however lines end."""
    return chain.from_iterable(map(str.split, _pieces(text)))


def encode(texts: Mapping[str, str], cap: int | None) -> Tokens:
    """Number the words of all texts in one pass, as they first appear; a table of those numbers then says the ids.

    Args:
        texts: by name; the first one's words are the vocabulary.
        cap: how many words to keep, <eos> and <unk> included; None: all.
    """
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    found = {name: np.fromiter(map(numbers.__getitem__, tokenise(text)), np.int32) for name, text in texts.items()}
    first = np.bincount(next(iter(found.values())))  # how often each of its words occurs; they have the lowest numbers
    unseen = any((words >= len(first)).any() for words in found.values())
    counts = Counter(dict(zip(numbers, first.tolist(), strict=False)))
    vocabulary = _vocabulary(counts, cap, unseen)
    index = {word: i for i, word in enumerate(vocabulary)}
    unknown = index.get(UNK, -1)  # -1 is never used: without <unk> every word is in the vocabulary
    table = np.array([index.get(word, unknown) for word in numbers], np.int64)
    return Tokens({name: table[words] for name, words in found.items()}, vocabulary)


def _pieces(text: str) -> Iterator[str]:
    """Some lines at a time, with <eos> in the place of each line's end."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        yield text[start:end].removesuffix("\n").replace("\n", f" {EOS} ") + f" {EOS}"
        start = end


def _vocabulary(counts: Counter[str], cap: int | None, unseen: bool) -> tuple[str, ...]:
    """Words in order of first appearance, of which a Counter keeps track; an <unk> that the text lacks comes last."""
    words = dict.fromkeys([*counts, UNK] if unseen else counts)
    if cap is None or len(words) <= cap:
        return tuple(words)
    common = [word for word, _ in counts.most_common() if word not in (EOS, UNK)]
    kept = {EOS, UNK, *common[: cap - 2]}
    return tuple(word for word in dict.fromkeys([*counts, UNK]) if word in kept)
