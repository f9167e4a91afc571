"""Is one search really better than another? Groups of experiments whose members differ only in their seeds are compared.

- `groups.py`: which experiments are replicates of one another, and whether they can be compared at all.
- `budgets.py`: the best value so far, by what it cost.
- `tables.py`: scores, tests and what may be said of them.
- `comparison.py`: all of it at a matched budget, as plain data.
- `baseline.py`: the random search that is missing.
- `correlation.py`: do search-time scores rank architectures as training does?
- `controllers.py`, `contest.py`: cells of trained controllers against uniform ones; `superiority.py`, `permutation.py`: the
  statistics of it; `contest_text.py`, `contest_figure.py`: what is written.
- `text.py`: terminal, Markdown and CSV. `figure.py`: the picture.
"""
