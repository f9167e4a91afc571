"""An experiment's YAML, and what a Determined 0.38.1 master makes of it. Knows neither torch nor the trials.

- `load.py`: reading it, overrides, and what is asked of it before a trial starts.
- `rules.py`: what a master refuses; `schema.py`: the rules as data.
- `search_space.py`: the trials that a searcher creates: the master's own draws, and its grid.
- `entrypoint.py`: which trial the entrypoint runs, and where it lies.
"""
