"""What came out of an experiment. Knows its folder and its study, and nothing of how it was run.

- `experiment.py`: an experiment and its trials as plain data.
- `source.py`: reads one, from a folder (`local.py`).
- `leaderboard.py`: the trials, best first.
- `summary.py`: what is printed in the end: the best trials, the best architecture, and what to do next.
- `curves.py`, `curve_data.py`: learning curves as a picture, and what of them can be drawn.
"""
