"""Writes the findings of a controller into a folder."""

from __future__ import annotations

from pathlib import Path

from nas.core.errors import ConfigError
from nas.core.files import write_atomically
from nas.core.space import load_space
from nas.results.analysis.figures import pictures
from nas.results.analysis.findings import Findings
from nas.results.analysis.text import csv_text, json_text, markdown
from nas.results.figures.cell import draw_dot


def write_analysis(found: Findings, out: Path, title: str) -> list[str]:
    """Write page, numbers and pictures; returns the files, but for those of single cells, which are in `cells/`.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    drawn = cells_drawn(found)
    figures = pictures(found)
    named = [(f"{each.name}.svg", each.caption) for each in figures]
    files = {
        "analysis.md": markdown(found, named, {k: f"cells/{k}.svg" for k in drawn}, title),
        "analysis.csv": csv_text(found),
        "analysis.json": json_text(found),
        **{f"{each.name}.svg": each.svg for each in figures},
    }
    try:
        for name, text in {**files, **{f"cells/{k}.svg": svg for k, svg in drawn.items()}}.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / name, text.encode())
    except OSError as error:
        raise ConfigError([f"--out {out} cannot be written: {error.strerror or error}"]) from error
    return list(files)


def cells_drawn(found: Findings) -> dict[int, str]:
    """SVG of each cell of the nearest and farthest pairs, by number."""
    space = load_space(found.source.package)
    numbers = sorted({k for pair in (*found.nearest, *found.farthest) for k in pair})
    drawn = {}
    for k in numbers:
        genotype = space.from_json(found.trained.cells.genotypes[k])
        svg = draw_dot(space.to_dot(genotype), str(genotype))
        if svg is not None:
            drawn[k] = svg
    return drawn
