"""Architecture weights of one-shot searches, as small multiples and as a GIF."""

from __future__ import annotations

import io
import math
import random
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from PIL import Image
from support.made_up import search, trial

from nas.core.space import load_space
from nas.results.experiment import ExperimentResult
from nas.results.figures.animation import weights_animation
from nas.results.figures.weights import edge_name, trace, weights_evolution


def one_shot(package: str, epochs: int, **changes: Any) -> ExperimentResult:
    space, generator = load_space(package), random.Random(0)
    entries = [
        {
            "epochs": float(epoch),
            "genotype": space.sample(epoch).to_json(),
            "weights": {
                kind: [[generator.random() for _ in shape.operations] for _ in shape.edges]
                for kind, shape in space.relaxation.items()
            },
        }
        for epoch in range(1, epochs + 1)
    ]
    entries[0] |= changes
    made = trial(0, generator, space=package, genotype=entries[-1]["genotype"], search=entries)
    return search(0, trials=[made], rungs=[])


@pytest.mark.parametrize("package", ["randomNAS_files", "cnn_nas"])
def test_a_panel_for_each_edge_and_a_name_for_each_operation(package: str) -> None:
    pictures = weights_evolution(one_shot(package, 4))
    shapes = load_space(package).relaxation
    assert len(pictures) == len(shapes)
    for picture, shape in zip(pictures, shapes.values(), strict=True):
        root = ElementTree.fromstring(picture.svg)
        texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
        names = [edge_name(shape, edge) for edge in range(len(shape.edges))]
        assert len(set(names)) == len(names) and set(names) | set(shape.operations) | {"epochs", "weight"} <= set(texts)


def test_the_chosen_operation_is_thick() -> None:
    experiment = one_shot("randomNAS_files", 3)
    picture = weights_evolution(experiment)[0]
    thick = picture.svg.count("stroke-width: 2.6")
    found = trace(experiment)
    assert found is not None and found.paths[-1] is not None
    assert thick == sum(len(running) for running in found.paths[-1][next(iter(found.shapes))])


def test_the_animation_has_a_frame_for_each_epoch() -> None:
    picture = weights_animation(one_shot("randomNAS_files", 3))
    assert picture is not None
    with Image.open(io.BytesIO(picture.gif)) as image:
        assert image.format == "GIF" and getattr(image, "n_frames", 1) == 3
        frames = []
        for i in range(3):
            image.seek(i)
            frames.append(image.convert("RGB").tobytes())
    assert len(set(frames)) == 3


@pytest.mark.parametrize("weights", [None, {}, {"normal": [[0.5]]}, {"normal": 7}])
def test_tables_that_do_not_fit_the_space_are_left_out(weights: Any) -> None:
    found = trace(one_shot("cnn_nas", 3, weights=weights))
    assert found is not None and found.epochs == [2.0, 3.0]


def test_no_weights_no_picture() -> None:
    assert trace(search(2)) is None and weights_evolution(search(2)) == [] and weights_animation(search(2)) is None
    assert weights_evolution(one_shot("cnn_nas", 1)) == [] and weights_animation(one_shot("cnn_nas", 1)) is None


def test_a_weight_that_is_not_finite_spoils_nothing() -> None:
    shapes = load_space("randomNAS_files").relaxation
    broken = {kind: [[math.nan for _ in shape.operations] for _ in shape.edges] for kind, shape in shapes.items()}
    assert weights_evolution(one_shot("randomNAS_files", 3, weights=broken))[0].svg
