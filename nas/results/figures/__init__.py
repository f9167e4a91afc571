"""Figures of an experiment, as SVG: one file a figure.

- `style.py`: colours and fonts of all of them; SVG that follows a page's light or dark mode.
- `data.py`: what several figures ask of trials.
- `learning.py`: learning curves. `progress.py`: best so far against device hours and trials. `pareto.py`: metric against size.
- `importance.py`: which choices matter, and which look as if they did. `rungs.py`: what ASHA stopped where.
- `cell.py`: an architecture as a graph (`dot_text.py` reads it, `layout.py` places it).
- `weights.py`, `animation.py`: a one-shot search's weights over its epochs; `chosen_cells.py`: the cells that one without
  weights would have chosen.
- `ablation.py`: what each change of a cell does; of an `Ablation`, as PNG and SVG.

Each other figure is a function of an `ExperimentResult`, and returns a `Picture`, or None where it has no meaning.
"""

from nas.results.figures.style import Picture

__all__ = ["Picture"]
