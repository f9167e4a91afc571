"""The common look of the figures, and SVG text that is self-contained and can follow a page's light or dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

PAPER, INK, MUTED, RULE = "#fffffe", "#333334", "#6e6e70", "#dededf"
GREY, BLUE, ORANGE, GREEN, PURPLE = "#98989a", "#0072b2", "#d55e00", "#009e73", "#cc79a7"
AMBER, SKY, OLIVE = "#e69f00", "#56b4e9", "#a89b00"
INPUT, STATE, OUTPUT = "#dff0d8", "#eef3fa", "#fdf0d5"  # what the spaces fill the nodes of a cell with

DARK: Mapping[str, str] = {
    **{PAPER: "#17181b", INK: "#e4e4e6", MUTED: "#a8a8ad", RULE: "#3a3b40", GREY: "#85858a"},
    **{BLUE: "#4aa8e0", ORANGE: "#f58236", GREEN: "#22c493", PURPLE: "#dd93bb", AMBER: "#f0b429", SKY: "#8fd0f7"},
    **{OLIVE: "#f0e442", INPUT: "#24402a", STATE: "#22304a", OUTPUT: "#4a3b1a"},
}
"""Every colour that a figure may use, and what it becomes on a dark page. Lines have Okabe and Ito's (2008), which differ for
colour-blind readers too; their yellow is darkened on white paper."""

SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, INK, OLIVE)
"""For lines of several things, in this order; `DASHES` tells the ninth from the first."""
DASHES = ("-", "--", ":", "-.")

FONT = 9.5
WIDE = 9.0
"""Inches that a figure is wide."""


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without the suffix.
        title: what it shows.
        caption: how to read it, and what is left out; where there is no picture, why not.
        svg: in light colours, complete; "" if nothing can be drawn.
        gif: of one that moves.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    gif: bytes = b""


@dataclass(frozen=True)
class Look:
    """How trials that ended in one of these ways are drawn."""

    outcomes: tuple[str, ...]
    label: str
    colour: str
    marker: str
    hollow: bool = False

    def dots(self, size: float) -> dict[str, Any]:
        """Arguments of `plot` for markers without a line."""
        face = PAPER if self.hollow else self.colour
        return {
            "linestyle": "",
            "marker": self.marker,
            "markersize": size,
            "color": self.colour,
            "markerfacecolor": face,
        }


LOOKS = (  # later ones are drawn over earlier ones
    Look(("pruned",), "stopped early", GREY, "o"),
    Look(("completed",), "completed", BLUE, "o"),
    Look(("",), "not finished", GREEN, "o", hollow=True),
    Look(("diverged", "error", "invalid"), "diverged or failed", PURPLE, "X"),
)


def look_of(outcome: str) -> Look:
    """How a trial is drawn; a way to end that nobody knows looks like a failure."""
    return next((look for look in LOOKS if outcome in look.outcomes), LOOKS[-1])


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Within this block matplotlib draws in the common look. Text is plain: a `$` in a name is a dollar."""
    import matplotlib

    style: Any = {
        **{"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "font.size": FONT},
        **{"font.family": ["DejaVu Sans"], "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY},
        **{"xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE},
        **{"grid.linewidth": 0.7, "axes.axisbelow": True, "axes.facecolor": PAPER, "figure.facecolor": PAPER},
        **{"legend.frameon": False, "legend.fontsize": FONT, "axes.titlesize": FONT + 0.5, "path.simplify": True},
        **{"axes.titlelocation": "left", "axes.unicode_minus": False, "path.simplify_threshold": 0.2},
    }
    with matplotlib.rc_context(style):
        yield


def new_figure(height: float, width: float = WIDE, layout: Literal["constrained"] | None = "constrained") -> Any:
    """An empty figure, of inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def svg_of(figure: Any, label: str) -> str:
    """The figure as SVG, to be called within `drawing`.

    Args:
        label: what a reader who does not see it is told.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?(?=[;\"])", "sans-serif", buffer.getvalue())
    return labelled(re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text), label)


def labelled(svg: str, label: str) -> str:
    """The `svg` element alone, with a text for those who do not see it, and nothing that leads elsewhere."""
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    opening, _, rest = text.partition(">")
    return f'{opening} role="img" aria-label={quoteattr(label)}>\n <title>{escape(label)}</title>{rest}'.strip() + "\n"


def themed(svg: str) -> str:
    """The same for a page whose style sheet holds `css_variables`: colours are those of its mode."""
    known = {colour: f"var({_variable(colour)})" for colour in DARK}
    text = re.sub(r"#[0-9a-fA-F]{6}\b", lambda match: known.get(match[0].lower(), match[0]), svg)
    return text.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)


def css_variables(dark: bool) -> str:
    """Declarations of all colours, for a rule of a style sheet."""
    return " ".join(f"{_variable(colour)}: {other if dark else colour};" for colour, other in DARK.items())


def _variable(colour: str) -> str:
    return f"--c-{colour[1:]}"


def legend(figure: Any, entries: Sequence[Mapping[str, Any]], columns: int = 5) -> None:
    """A legend below the figure; each entry is the arguments of a `Line2D`."""
    from matplotlib.lines import Line2D

    if entries:
        handles = [Line2D([], [], **entry) for entry in entries]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def cut(text: str, longest: int) -> str:
    """On one line, and no longer than this."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def spell(number: float, unit: str) -> str:
    """Such as `1 epoch`, `9 epochs`."""
    return f"{number:,.10g} {unit.removesuffix('s') if number == 1 else unit}"
