"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import jinja2
from markupsafe import Markup

from nas.results.figures.style import Picture, css_variables, themed
from nas.results.report.content import Content


def html(content: Content) -> str:
    """The page. All text is escaped; only figures are markup, and they escape their own."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": _inline, "data_url": _data_url}
    colours = {"light": Markup(css_variables(dark=False)), "dark": Markup(css_variables(dark=True))}
    return environment.get_template("page.html.j2").render(report=content, **colours)


def _inline(picture: Picture) -> Markup:
    """The figure as markup; on a narrow screen it is scrolled rather than made too small to read."""
    width = re.search(r'<svg[^>]* width="([\d.]+)(pt)?', picture.svg)
    least = f' style="min-width: min(34rem, {width[1]}{width[2] or "px"})"' if width else ""
    return Markup(themed(picture.svg).replace("<svg", f"<svg{least}", 1))


def _data_url(picture: Picture) -> str:
    return f"data:image/gif;base64,{base64.b64encode(picture.gif).decode()}"
