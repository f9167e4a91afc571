"""A one-shot search's architecture weights as an animated GIF: the table of each kind of cell, a frame an epoch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from nas.results.experiment import ExperimentResult
from nas.results.figures import style
from nas.results.figures.data import thinned
from nas.results.figures.style import Picture
from nas.results.figures.weights import Trace, edge_name, trace

_FRAMES = 30
_MILLISECONDS, _LAST = 400, 3000
_DPI = 72


def weights_animation(experiment: ExperimentResult) -> Picture | None:
    """The GIF; None for searches that are not one-shot, or have one entry only."""
    found = trace(experiment)
    if found is None or len(found.epochs) < 2:
        return None
    entries = [round(i) for i, _ in thinned([(i, 0.0) for i in range(len(found.epochs))], _FRAMES)]
    with style.drawing("weights_animation"):
        frames = _frames(found, entries)
    caption = (
        f"Weights of trial {found.trial.number} from epoch {found.epochs[0]:g} to {found.epochs[-1]:g}: rows are edges, "
        "columns operations; what would be chosen has a frame."
    )
    return Picture("weights", "Architecture weights, epoch by epoch", caption, gif=gif_of(frames, _MILLISECONDS))


def gif_of(frames: Sequence[Any], milliseconds: int) -> bytes:
    """A GIF of Pillow images, as many as there are, that runs for ever and stays longer at the last."""
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [_LAST]
    first, *others = frames
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def frame_of(canvas: Any) -> Any:
    """What a canvas of matplotlib shows, as a Pillow image."""
    from PIL import Image

    canvas.draw()
    return Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB").quantize(64)


def _frames(found: Trace, entries: list[int]) -> list[Any]:
    """Pillow images; what does not change is drawn once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, images = _tables(found)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for entry in entries:
        boxes = [box for kind, image in images.items() for box in _show(found, kind, image, entry)]
        figure.suptitle(f"epoch {found.epochs[entry]:g}", fontsize=12, color=style.INK)
        frames.append(frame_of(canvas))
        figure.set_layout_engine("none")  # every frame in the places of the first, and sooner
        for box in boxes:
            box.remove()
    return frames


def _tables(found: Trace) -> tuple[Any, dict[str, Any]]:
    height = 1.8 + 0.22 * max(len(shape.edges) for shape in found.shapes.values())
    figure = style.new_figure(height, 5.4 * len(found.shapes))
    figure.set_dpi(_DPI)
    values = [
        v for tables in found.tables for table in tables.values() for row in table for v in row if math.isfinite(v)
    ]
    images = {}
    panels = figure.subplots(1, len(found.shapes), squeeze=False)[0]
    for axes, (kind, shape) in zip(panels, found.shapes.items(), strict=True):
        axes.grid(visible=False)
        image = axes.imshow(found.tables[0][kind], cmap="cividis", vmin=0, vmax=max(values, default=1), aspect="auto")
        axes.set_xticks(range(len(shape.operations)), shape.operations, rotation=40, ha="right")
        axes.set_yticks(range(len(shape.edges)), [edge_name(shape, edge) for edge in range(len(shape.edges))])
        axes.set_title(kind)
        figure.colorbar(image, ax=axes, label="weight")
        images[kind] = image
    return figure, images


def _show(found: Trace, kind: str, image: Any, entry: int) -> list[Any]:
    """Put an entry's table into the image; returns the frames around what is chosen."""
    from matplotlib.patches import Rectangle

    image.set_data(found.tables[entry][kind])
    paths = found.paths[entry]
    boxes = []
    for edge, running in enumerate(paths[kind] if paths else ()):
        for k in running:
            look: dict[str, Any] = {"fill": False, "edgecolor": style.ORANGE, "linewidth": 2.2}
            boxes.append(image.axes.add_patch(Rectangle((k - 0.5, edge - 0.5), 1, 1, **look)))
    return boxes
