"""The convolutional search space: cells of the DARTS kind for images (Liu et al. 2019, arXiv 1806.09055).

In it:

- `architecture.py`: a normal and a reduction cell as data (`Genotype`), their codecs, and random sampling.
- `genotypes.py`: the architectures known by name; add yours there. `published.py`: more, of others.
- `space.py`: what others may ask of the space (`SPACE`); `canonical.py`: one form for cells that are the same graph.
- `darts_cc.py`: the JSON files of DARTS-CC.
- `from_config.py`: which architecture a config means; `settings.py`: all that a trial reads from its config.
- `drawing.py`: an architecture as text and as a graph.
- `counting.py`: parameters and multiply-accumulates of a network, without building it.
- `constraints.py`: rules in the YAML that an architecture must satisfy.
- `sampling.py`: architectures drawn so that they satisfy them, and the share that does.
- `operations.py`: what an edge of a cell can do.
- `model.py`: the cells and the network of them, readable from top to bottom.
- `fast/`: the same network, fast.
- `images/`: data sets, their splits and batches, augmentation and metrics.
- `feature_maps.py`: the type and memory format of feature maps; `scoring.py`: how well a network predicts images.
- `trial.py`: the trial that trains an architecture; the only file here that knows Determined.
- `survey.py`, `memory.py`: what random architectures have, and what a training step needs, for `nas check`.
"""
