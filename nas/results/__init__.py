"""What came out of an experiment. Knows its folder or its master, and nothing of how it was run.

- `experiment.py`: an experiment and its trials as plain data.
- `source.py`: reads one, from a folder (`local.py`) or from a Determined master (`determined_*.py`).
- `leaderboard.py`: the trials, best first; `same.py`: architectures that compute the same; `repeats.py`: trainings of the
  same setting.
- `summary.py`: what is printed at the end of a search; `show.py`, `listing.py`: what `nas show` and `nas list` print.
- `report/`: a page, Markdown, CSV and JSON; `figures/`: the pictures on it; `curves.py`, `curve_data.py`: the one that
  every search leaves.
- `compare/`: one search against another; `statistics.py`: tests and intervals.
- `architecture.py`: what a user may call an architecture; `constant.py`, `card.py`, `export.py`: what is written of it.
- `ablation.py`: what single changes of a cell do, by `ablation_shared.py` or `ablation_retrained.py`;
  `ablation_config.py`: the experiment that trains them; `ablation_text.py`: what is written of it.
- `retraining.py`: experiments that train what was found.
- `quantities.py`: numbers as people read them.
"""
