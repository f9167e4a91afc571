"""Before anything is submitted or trained: can this config run, what does its search space hold, will it fit in memory?

    nas check constrained_adaptive.yaml

- `experiment.py`: the config, read as a master and the trial read it, at several points of its search space.
- `entrypoint.py`: which trial an entrypoint runs.
- `space.py`: random architectures of a convolutional search space: how many hold, and how large they are.
- `picture.py`: the same as histograms.
- `memory.py`: what a training step keeps in memory, measured on tensors without contents.
- `report.py`: all of it as text.

No image and no text is read.
"""

from nas.check.report import check

__all__ = ["check"]
