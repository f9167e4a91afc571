"""The report as Markdown; figures are files in a folder beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nas.results.figures.style import Picture
from nas.results.report.content import Content, Facts


def markdown(content: Content, folder: str) -> str:
    """The text; `folder` is where the figures are, relative to it."""
    return "\n\n".join(_blocks(content, folder)) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def fenced(text: str, language: str = "") -> str:
    """A block of code, in a fence that the text does not have."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _blocks(content: Content, folder: str) -> Iterator[str]:
    yield f"# {escaped(content.title)}"
    yield escaped(" ".join(content.status))
    yield "Every metric is of validation data, which also chose the winner, unless it is called test or training."
    if content.summary:
        yield "## Summary"
        yield _facts(content.summary)
    for i, found in enumerate(content.architectures):
        yield f"{'##' if i == 0 else '###'} {'Architecture. ' if i == 0 else ''}{escaped(found.title)}"
        if found.picture:
            yield _figure(found.picture, folder)
        if found.note:
            yield escaped(found.note)
        if found.constant:
            yield fenced(found.constant, "python")
    if content.board:
        yield "## Leaderboard"
        yield _table(content.header, content.board)
        yield escaped(content.below_board)
    if content.pictures:
        yield "## Figures"
    for picture in content.pictures:
        yield f"### {escaped(picture.title)}"
        yield _figure(picture, folder)
    if content.failures:
        yield "## Trials that failed or diverged"
        yield "\n".join(f"- {escaped(f'{name}: {reason}')}" for name, reason in content.failures)
        if content.more_failures:
            yield f"{content.more_failures} more reasons are in trials.csv."
    yield "## How it was made"
    yield _facts(content.making)
    yield fenced("\n".join(content.commands), "sh")
    yield fenced(content.config, "yaml")


def _facts(facts: Facts) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(text)}" for name, text in facts)


def _figure(picture: Picture, folder: str) -> str:
    suffix = "svg" if picture.svg else "gif" if picture.gif else ""
    image = f"![{escaped(picture.title)}]({folder}/{picture.name}.{suffix})\n\n" if suffix else ""
    return f"{image}{escaped(picture.caption)}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(map(escaped, cells))} |" for cells in (header, rule, *lines)).replace(
        " | ".join(map(escaped, rule)), " | ".join(rule)
    )
