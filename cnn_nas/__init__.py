"""The convolutional search space: cells of the DARTS kind for images (Liu et al. 2019, arXiv 1806.09055).

In it:

- `architecture.py`: a normal and a reduction cell as data (`Genotype`), their codecs, and random sampling.
- `genotypes.py`: the architectures known by name; add yours there.
- `choice.py`: which architecture a config means.
- `drawing.py`: an architecture as text.
- `counting.py`: parameters and multiply-accumulates of a network, without building it.
- `constraints.py`: rules in the YAML that an architecture must keep.
- `sampling.py`: architectures drawn so that they keep them, and how many there are.
- `operations.py`: what an edge of a cell can do.
- `model.py`: the cells and the network of them, readable from top to bottom.
- `fast.py`, `depthwise.py`: the same network, fast.
- `data.py`: the front of the image data, with `datasets.py`, `folder_images.py`, `kirigami.py` and `images.py` behind it.
- `batches.py`, `augmentation.py`, `scores.py`: what is trained on, how it is varied, and what is measured.
- `trial.py`: the trial that trains an architecture; the only file here that knows Determined.
"""
