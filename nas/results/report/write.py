"""Writes a report and its files into a folder."""

from __future__ import annotations

from pathlib import Path

from nas.core.errors import ConfigError
from nas.core.files import write_atomically
from nas.results.experiment import ExperimentResult
from nas.results.report.content import gather
from nas.results.report.markdown import markdown
from nas.results.report.page import html
from nas.results.report.tables import csv_text, json_text

FIGURES = "report"
"""Folder of the figures, beside `report.md`."""


def write_report(experiment: ExperimentResult, out: Path | None = None) -> list[Path]:
    """Write `report.html`, `report.md` with its figures, `trials.csv` and `experiment.json`; returns these four.

    Args:
        out: the folder; that of the experiment if None, or `report-<id>` here for one on a cluster. It is made.

    Raises:
        ConfigError: if it cannot be written to.
    """
    folder = out if out is not None else default_folder(experiment)
    content = gather(experiment)
    pictures = [*content.pictures, *(found.picture for found in content.architectures if found.picture)]
    files = {
        "report.html": html(content),
        "report.md": markdown(content, FIGURES),
        "trials.csv": csv_text(experiment, content.trials),
        "experiment.json": json_text(experiment),
    }
    figures = {f"{FIGURES}/{each.name}.svg": each.svg.encode() for each in pictures if each.svg}
    figures |= {f"{FIGURES}/{each.name}.gif": each.gif for each in pictures if each.gif}
    everything = {**figures, **{name: text.encode("utf-8", "replace") for name, text in files.items()}}
    try:
        for name, data in everything.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, data)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            [f"the report cannot be written to {folder}: {why}; choose another folder with --out"]
        ) from error
    return [folder / name for name in files]


def default_folder(experiment: ExperimentResult) -> Path:
    """The experiment's own folder, or a new one here where it has none."""
    if experiment.source == "local" and experiment.folder:
        return Path(experiment.folder)
    return Path(f"report-{experiment.reference or experiment.name}".replace("/", "-"))
