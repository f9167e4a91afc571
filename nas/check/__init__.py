"""Before anything is submitted or trained: can this config run, what does its search space hold, will it fit in memory?

    nas check constrained_adaptive.yaml

- `picture.py`: what samples of the space came to, as histograms.
- `report.py`: all of it as text.

What has to be known of a trial or its space is asked through `nas.trial.Trial`, by
`nas/trial/inspection.py`. No image and no text is read.
"""

from nas.check.report import check

__all__ = ["check"]
