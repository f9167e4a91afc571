"""Everything around the search spaces: from an experiment's YAML to results, here or on a Determined cluster.

Arrows point one way: `cli` -> `results`, `engine`, `check` -> `trial` -> `runs` -> `config` -> `core`. Nothing here imports a
search space: what has to be known of one is asked through `nas.core.space.Space` and `nas.trial.Trial`.
"""

__version__ = "0.1.0"
