"""Texts that hold one another: a model is then validated or tested on what it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import combinations

from nas.core.errors import DataError

log = logging.getLogger(__name__)

FEWEST = 20
"""Words of a text or of a file that is compared; fewer say nothing."""

LONG = 8
"""Words of a line that two texts hardly share by chance: 1.3 % of Penn Treebank's validation words stand on such lines."""

REFUSED, TOLD = 0.5, 0.1
"""Shares of the words of a text that stand on lines of another."""


def refuse_leaks(texts: Mapping[str, tuple[str, bytes]]) -> None:
    """Raises DataError for texts that cannot be three parts of a corpus; the log tells of those that may not be.

    Args:
        texts: see `leaks`.
    """
    refused, told = leaks(texts)
    if refused:
        raise DataError(f"{'; '.join(refused)}: scores would be those of text that was trained on; part the files")
    for sentence in told:
        log.warning("%s", sentence)


def leaks(texts: Mapping[str, tuple[str, bytes]]) -> tuple[list[str], list[str]]:
    """What cannot be three parts of a corpus, and what may not be.

    Args:
        texts: of each split, the name of its file and its bytes, in the order train, valid, test.

    Returns:
        Sentences for what must be refused, and for what is told.
    """
    refused: list[str] = []
    told: list[str] = []
    bodies = {split: data.strip() for split, (_, data) in texts.items()}
    lines = {split: set(_long_lines(body)) for split, body in bodies.items()}
    for first, second in combinations(texts, 2):
        names = f"{texts[second][0]} ({second}) and {texts[first][0]} ({first})"
        large, small = sorted((bodies[first], bodies[second]), key=len, reverse=True)
        if len(small.split(maxsplit=FEWEST)) <= FEWEST:
            continue
        if small == large:
            refused.append(f"{names} hold the same text")
        elif small in large:
            refused.append(f"one of {names} holds the whole other text")
        else:
            share, example = _shared(bodies[second], lines[first])
            says = f"{share:.0%} of the words of {names.replace(' and ', ' stand on lines that are in ', 1)} too"
            if share >= TOLD:
                (refused if share >= REFUSED else told).append(f"{says}, such as {example!r}")
    return refused, told


def _long_lines(text: bytes) -> list[bytes]:
    return [line.strip() for line in text.splitlines() if len(line.split(maxsplit=LONG - 1)) >= LONG]


def _shared(text: bytes, known: set[bytes]) -> tuple[float, str]:
    """The share of the words that stand on known lines, and the first of these, shortened."""
    counts = [(line in known, len(line.split()), line) for line in _long_lines(text)]
    total = sum(words for _, words, _ in counts)
    found = [(words, line) for is_known, words, line in counts if is_known]
    example = found[0][1].decode(errors="replace")[:60] if found else ""
    return sum(words for words, _ in found) / max(total, 1), example
