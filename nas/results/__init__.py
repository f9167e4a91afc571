"""What came out of an experiment.

- `summary.py`: the best trials, the best architecture as a drawing, and what to do next.
- `curves.py`, `curve_data.py`: learning curves as a picture, and what of them can be drawn.
"""
