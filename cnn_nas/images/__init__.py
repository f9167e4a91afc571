"""Image data: where it comes from, how it is split, batched and varied, and what is measured on it.

In it:

- `data.py`: a data set by its name in the config, split into training, validation and test.
- `datasets.py`: CIFAR-10, MNIST, Fashion-MNIST and digits; `folder_images.py`: a folder of your own images; `kirigami.py`:
  cuts in sheets of graphene, a regression.
- `class_folders.py`: the files of such a folder; `image_files.py`: their pixels; `duplicates.py`: images that are there twice.
- `arrays.py`: images and targets in memory or mapped from a file, the seeded split that holds a part out, and statistics.
- `batches.py`: shuffled batches, of which each process takes its part.
- `augmentation.py`: crop, flip, normalisation and cutout of whole batches.
- `metrics.py`: losses, accuracies and R2 as exact means over all images.
"""
