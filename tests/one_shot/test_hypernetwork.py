"""Tables as functions of a level."""

from __future__ import annotations

import pytest
import torch
from support.strategy_suite import seeded

from nas.core.optimizers import Adam
from one_shot.hypernetwork import Hypernetwork, Knots, Smooth, _spline

STARTS = {"a": torch.randn(3, 2, generator=seeded(0)).double(), "b": torch.randn(4, generator=seeded(1)).double()}


def spread(network: Hypernetwork) -> Hypernetwork:
    """With parameters that all differ."""
    for k, parameter in enumerate(network.parameters()):
        parameter.data += torch.randn(parameter.shape, generator=seeded(k)).to(parameter)
    return network.double()


def both(knots: int = 5) -> list[Hypernetwork]:
    return [Knots(STARTS, knots), Smooth(STARTS, knots, 6, seeded(2)).double()]


@pytest.mark.parametrize("kind", [0, 1])
def test_at_first_all_levels_are_alike(kind: int) -> None:
    network = both()[kind]
    for level in (0.0, 0.1, 0.25, 0.7, 1.0):
        found = network(level)
        assert list(found) == ["a", "b"]
        assert all(torch.equal(found[name], start) for name, start in STARTS.items())


@pytest.mark.parametrize("knots", [2, 3, 4, 5, 7, 50])
def test_a_knot_has_its_table_and_between_two_it_is_a_line(knots: int) -> None:
    network = spread(Knots(STARTS, knots))
    rows = network.tables["a"]
    for k in range(knots):
        assert network(k / (knots - 1))["a"] is rows[k]  # type: ignore[index]
    for level in (0.03, 0.37, 0.61, 0.999):
        place = level * (knots - 1)
        below = int(place)
        if abs(place - round(place)) < 1e-9:
            continue
        expected = (below + 1 - place) * rows[below] + (place - below) * rows[below + 1]  # type: ignore[index]
        torch.testing.assert_close(network(level)["a"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [0, 1])
def test_it_is_continuous_to_the_very_ends(kind: int) -> None:
    network = spread(both()[kind])
    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        for level in (at - 1e-7, at + 1e-7):
            if 0 <= level <= 1:
                torch.testing.assert_close(network(level)["b"], network(at)["b"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "reached"), [(0.0, [0]), (0.1, [0, 1]), (0.25, [1]), (0.6, [2, 3]), (0.99, [3, 4]), (1.0, [4])]
)
def test_the_gradient_reaches_the_two_neighbours_only_and_adam_leaves_the_others(
    level: float, reached: list[int]
) -> None:
    network = Knots(STARTS, 5)
    optimizer = Adam(network.parameters(), 0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        network(level)["a"].square().sum().backward()
        optimizer.step()
    for k in range(5):
        moved = not torch.equal(network.tables["a"][k], STARTS["a"])  # type: ignore[index]
        assert moved == (k in reached)
        assert torch.equal(network.tables["b"][k], STARTS["b"])  # type: ignore[index]


def test_splines_are_de_boors_and_sum_to_1() -> None:
    """By the convolution of four boxes: the recursion over the order."""

    def box(x: float, order: int) -> float:
        if order == 0:
            return float(-0.5 <= x < 0.5)
        half = (order + 1) / 2
        return ((half + x) * box(x + 0.5, order - 1) + (half - x) * box(x - 0.5, order - 1)) / order

    grid = [k / 13 for k in range(-40, 41)]
    found = _spline(torch.tensor(grid, dtype=torch.float64)).tolist()
    assert found == pytest.approx([box(x, 3) for x in grid], abs=1e-12)
    assert float(_spline(torch.arange(-3, 4) + 0.3).sum()) == pytest.approx(1.0)


def test_one_knot_is_no_function_of_the_level() -> None:
    with pytest.raises(ValueError, match="knots must be at least 2, got 1"):
        Knots(STARTS, 1)
