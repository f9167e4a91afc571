"""What is found of made-up cells and states, and the files that say so."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nas.core.drawn_cells import ControllerCells, DrawnCells
from nas.core.errors import ConfigError
from nas.core.space import load_space
from nas.results.analysis.figures import binned, components
from nas.results.analysis.findings import AGAINST, COEFFICIENTS, DISTANCES, check_count, cosine, findings, group_of, l2
from nas.results.analysis.text import print_findings
from nas.results.analysis.write import write_analysis

COUNT = 12


def drawn(seed: int, planted: bool = False) -> DrawnCells:
    """With `planted`, common edges fall with the distance between states."""
    generator, space = np.random.default_rng(seed), load_space("randomNAS_files")
    states = generator.normal(size=(COUNT, 3))
    common = np.round(8 - 2 * np.linalg.norm(states[:, None] - states[None], axis=-1)) if planted else None

    def table() -> list[list[float]]:
        upper = np.triu(generator.integers(8, size=(COUNT, COUNT)), 1)
        return [[float(value) for value in row] for row in upper + upper.T]

    return DrawnCells(
        genotypes=[space.sample(seed, k).to_json() for k in range(COUNT)],
        counts=[2, *[1] * (COUNT - 1)],
        log_probs=generator.normal(-10, 1, COUNT).tolist(),
        losses=generator.normal(4, 0.1, COUNT).tolist(),
        states=states.tolist(),
        largest=generator.uniform(0.3, 1, (COUNT, 15)).tolist(),
        common_edges=table() if common is None else common.tolist(),
        common_pairs=table(),
        tree_distances=table(),
    )


def cells(**changes: Any) -> ControllerCells:
    names = [f"decision {k}" for k in range(15)]
    trained, fresh = drawn(0, planted=True), drawn(1)
    control = replace(trained, states=fresh.states)
    made = ControllerCells("randomNAS_files", COUNT + 1, None, names, [4] * 15, trained, control, fresh)
    return replace(made, **changes)


def test_what_was_planted_is_found_and_nothing_else() -> None:
    found = findings(cells(), permutations=199)
    planted = found.trained.tests["L2", "common edges", "Pearson"]
    assert planted is not None and planted.value < -0.9 and planted.p == 1 / 200
    others = [test.p for (_, against, _), test in found.trained.tests.items() if test and against != "common edges"]
    assert len(found.trained.tests) == len(DISTANCES) * len(AGAINST) * len(COEFFICIENTS) and np.median(others) > 0.05
    for group in (found.control, found.fresh):
        untrained = group.tests["L2", "common edges", "Pearson"]
        assert untrained is not None and abs(untrained.value) < 0.5


def test_the_nearest_and_the_farthest_pairs() -> None:
    found = findings(cells(), permutations=9)
    states = np.array(found.trained.cells.states)
    length = {(i, j): math.dist(states[i], states[j]) for i in range(COUNT) for j in range(i + 1, COUNT)}
    ordered = sorted(length, key=length.__getitem__)
    assert found.nearest == ordered[:5] and found.farthest == ordered[:-6:-1]


def test_cells_without_a_loss_are_left_out_and_numbers_stay() -> None:
    whole = drawn(0, planted=True)
    losses = [math.nan, *whole.losses[1:5], math.inf, *whole.losses[6:]]
    group = group_of(replace(whole, losses=losses), 9)
    assert group.kept == [1, 2, 3, 4, *range(6, COUNT)]
    expected = np.delete(np.delete(l2(np.array(whole.states)), [0, 5], axis=0), [0, 5], axis=1)
    assert np.allclose(group.distances["L2"], expected)
    assert group.against["difference of loss"][0, 1] == pytest.approx(abs(losses[1] - losses[2]))
    nothing = replace(whole, losses=[math.nan] * COUNT)
    with pytest.raises(ConfigError, match=f"the losses of all {COUNT} cells are not finite"):
        findings(cells(trained=nothing, control=nothing))
    assert all(test is None for test in findings(cells(fresh=nothing), 9).fresh.tests.values())


def test_a_controller_that_draws_one_cell_only_has_no_correlations(tmp_path: Path) -> None:
    whole = drawn(0)
    one = DrawnCells(
        **{name: [value[0]] if name != "counts" else [COUNT + 1] for name, value in vars(whole).items()}
        | {name: [[8.0]] for name in ("common_edges", "common_pairs", "tree_distances")}
    )
    found = findings(cells(trained=one, control=one))
    assert found.nearest == [] and all(test is None for test in found.trained.tests.values())
    assert "analysis.md" in write_analysis(found, tmp_path, "one")


def test_the_files_say_the_same(tmp_path: Path) -> None:
    found = findings(cells(), permutations=99)
    names = write_analysis(found, tmp_path / "new" / "folder", "A | B")
    folder = tmp_path / "new" / "folder"
    page, told = (folder / "analysis.md").read_text(), json.loads((folder / "analysis.json").read_text())
    assert set(re.findall(r"\]\(([^)]*)\)", page)) == {str(p.relative_to(folder)) for p in folder.rglob("*.svg")}
    assert page.startswith("# A \\| B\n") and {"distances.svg", "states.svg", "decisions.svg"} < set(names)
    rows = list(csv.DictReader(io.StringIO((folder / "analysis.csv").read_text())))
    assert len(rows) == 3 * COUNT * (COUNT - 1) / 2
    states = np.array(told["trained"]["cells"][3]["state"]) - told["trained"]["cells"][7]["state"]
    (row,) = [r for r in rows if (r["controller"], r["cell"], r["other cell"]) == ("trained", "3", "7")]
    assert float(row["L2"]) == pytest.approx(np.linalg.norm(states), rel=1e-4)
    test = next(t for t in told["trained"]["tests"] if (t["distance"], t["against"]) == ("L2", "common edges"))
    assert f"| {test['value']:.2f} | {test['p']:.4f} |" in page
    buffer = io.StringIO()
    print_findings(Console(file=buffer, width=120), found)
    assert "13 cells drawn, 12 different" in buffer.getvalue() and max(map(len, page.splitlines())) < 4000
    with pytest.raises(ConfigError, match="cannot be written"):
        write_analysis(found, Path("/dev/null/x"), "")


def test_too_few_cells_and_too_many() -> None:
    with pytest.raises(ConfigError) as caught:
        check_count(1)
    (says,) = caught.value.problems
    assert says.startswith("--cells must be 5..1000, as fewer") and says.endswith(", got 1")
    with pytest.raises(ConfigError, match="got 1001"):
        check_count(1001)
    check_count(5)


def test_distances() -> None:
    states = np.array([[3.0, 4.0], [0.0, 5.0], [6.0, 8.0]])
    assert l2(states)[0].tolist() == pytest.approx([0, math.sqrt(10), 5])
    assert cosine(states)[0].tolist() == pytest.approx([0, 0.2, 0])
    near = np.array([[1.0, 0.0], [1.0, 1e-10]])
    assert cosine(near)[0, 1] == pytest.approx(5e-21)


def test_principal_components() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4)) * [5, 2, 1, 0.1]
    places, shares = components(values)
    spread, _ = np.linalg.eigh(np.cov(values.T))
    assert shares.tolist() == pytest.approx((spread[::-1][:2] / spread.sum()).tolist())
    assert places.var(axis=0, ddof=1).tolist() == pytest.approx(spread[::-1][:2].tolist())
    assert components(values[:1])[0].shape == (1, 2) and components(np.ones((5, 1)))[1].tolist() == [0, 0]


def test_bins() -> None:
    x = np.array([1.0, 1.0, 2.0])
    assert [each.tolist() for each in binned(x, np.array([3.0, 5.0, 7.0]))[::2]] == [[1, 2], [4, 7]]
    many = np.linspace(0, 1, 1000)
    centres, low, middle, high = binned(many, many)
    assert len(centres) == 10 and np.allclose(centres, middle) and (low < middle).all() and (middle < high).all()
