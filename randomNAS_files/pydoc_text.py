"""The help text inside CPython as a corpus: what `help("for")` prints, in three parts that share no paragraph."""

from __future__ import annotations

import functools
import re


def pydoc_parts() -> tuple[str, str, str]:
    """Eight, one and one tenth of the paragraphs, taken in turn. Raises ImportError where Python comes without them."""
    from pydoc_data.topics import topics

    return _parts(tuple(sorted(topics.items())))


@functools.lru_cache(maxsize=1)  # a trial asks twice: how long they are, then for the text
def _parts(topics: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    blocks = (block for _, text in topics for block in re.split(r"\n\s*\n", text))
    # Topics quote one another: a paragraph counts once, or the model would be tested on what it was trained on.
    paragraphs = [text for text in dict.fromkeys(map(_sentences, blocks)) if text]
    first = [text for i, text in enumerate(paragraphs) if i % 10 < 8]
    return "".join(first), "".join(paragraphs[8::10]), "".join(paragraphs[9::10])


def pydoc_tokens() -> tuple[int, ...]:
    """How many tokens each part has; empty where Python comes without them."""
    try:
        parts = pydoc_parts()
    except ImportError:
        return ()
    return tuple(len(part.split()) + part.count("\n") for part in parts)  # words, and the end of each line


def _sentences(paragraph: str) -> str:
    """One sentence a line, words and punctuation apart: lower case, numbers as N, rules and ellipses cut to three."""
    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", paragraph))
    lines = [re.findall(r"\d\w*(?:\.\d\w*)*|\w+|[^\w\s]+", sentence) for sentence in sentences]
    return "".join(" ".join("N" if w[0].isdigit() else w.lower() for w in line) + "\n" for line in lines if line)
