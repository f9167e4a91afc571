from __future__ import annotations

import numpy as np
import pytest
import torch

from cnn_nas.images.metrics import Classification, Regression
from nas.trial import WeightedMeans


def means_over(
    scores: Classification | Regression, outputs: torch.Tensor, targets: torch.Tensor, sizes: list[int]
) -> dict[str, float]:
    """What is reported of batches of these sizes."""
    means = WeightedMeans(torch.device("cpu"), scores.names, scores.report)
    assert sum(sizes) == len(targets)
    for some, which in zip(outputs.split(sizes), targets.split(sizes), strict=True):
        means.update(len(which), **scores.sums(some, which))
    return means.cross_slot_reduce([means.totals()])


def plain_classes(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Softmax, then minus the logarithm; ranks by counting who is likelier."""
    exponentials = np.exp(outputs - outputs.max(1, keepdims=True))
    likelihood = exponentials / exponentials.sum(1, keepdims=True)
    right = likelihood[np.arange(len(targets)), targets]
    rank = (outputs > outputs[np.arange(len(targets)), targets][:, None]).sum(1)
    return {"loss": -np.log(right).mean(), "top1_accuracy": (rank < 1).mean(), "top5_accuracy": (rank < 5).mean()}


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10])
def test_classes_equal_a_plain_computation(classes: int) -> None:
    generator = np.random.RandomState(classes)
    outputs, targets = generator.normal(0, 3, (101, classes)).astype(np.float32), generator.randint(0, classes, 101)
    found = means_over(Classification(), torch.from_numpy(outputs), torch.from_numpy(targets), [40, 1, 33, 27])
    expected = plain_classes(outputs.astype(np.float64), targets)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found["top1_accuracy"] == expected["top1_accuracy"]
    assert (found["top5_accuracy"] == 1) == (classes <= 5) and 0 < found["top1_accuracy"] < found["top5_accuracy"]


def test_the_objective_is_the_reported_loss() -> None:
    outputs, targets = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    scores = Classification()
    assert scores.objective(outputs, targets).item() == pytest.approx(scores.sums(outputs, targets)["loss"].item() / 8)


def test_training_reports_loss_and_top1() -> None:
    means = {"loss": 1.5, "top1": 0.25, "top5": 0.75}
    assert Classification().training_report(means) == {"loss": 1.5, "top1_accuracy": 0.25}
    assert Regression(0, 1).training_report({"loss": 1.5, "target": 0, "square": 1}) == {"loss": 1.5}


def test_half_precision_is_scored_in_full() -> None:
    """1,000 losses near 1/1000 would be lost in bfloat16 sums."""
    outputs = torch.tensor([[7.0, 0.0]]).repeat(1000, 1)
    scores, targets = Classification(), torch.zeros(1000, dtype=torch.int64)
    whole, half = (means_over(scores, each, targets, [1000])["loss"] for each in (outputs, outputs.bfloat16()))
    assert half == pytest.approx(whole, rel=1e-6)


def test_sums_wait_for_nobody() -> None:
    """They are tensors, so that a device is not waited for after each batch."""
    for scores, width, targets in (
        (Classification(), 3, torch.zeros(4, dtype=torch.int64)),
        (Regression(0, 1), 1, torch.rand(4)),
    ):
        sums = scores.sums(torch.rand(4, width), targets)
        assert tuple(sums) == scores.names
        assert all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in sums.values())


def targets_like(mean: float, std: float, count: int = 103) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(3).normal(mean, std, count)).float()


@pytest.mark.parametrize("sizes", [[103], [50, 50, 3], [1] * 103])
@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.05), (0.0, 1.0), (1000.0, 2.0), (-5.0, 40.0)])
def test_r2_equals_the_textbook_formula(mean: float, std: float, sizes: list[int]) -> None:
    """1 - (residual sum of squares) / (total sum of squares), over all samples at once; the mean is the test's own."""
    targets = targets_like(mean, std)
    outputs = torch.randn(103, 1, generator=torch.Generator().manual_seed(1)) * 0.7
    scores = Regression(mean + 0.3 * std, 1.5 * std)
    found = means_over(scores, outputs, targets, sizes)
    truth = targets.double().numpy()
    predicted = outputs[:, 0].double().numpy() * scores.std + scores.mean
    residual = ((predicted - truth) ** 2).sum()
    assert found["loss"] == pytest.approx(residual / 103, rel=1e-4)
    assert found["r2"] == pytest.approx(1 - residual / ((truth - truth.mean()) ** 2).sum(), abs=2e-4)
    assert all(type(value) is float for value in found.values())


def test_the_loss_has_the_units_of_the_targets() -> None:
    scores, targets = Regression(10.0, 2.0), torch.tensor([8.0, 12.0])
    found = means_over(scores, torch.tensor([[0.0], [0.0]]), targets, [2])  # predicts 10 for both
    assert found == {"loss": 4.0, "r2": 0.0}
    assert scores.objective(torch.zeros(2, 1), targets).item() == 1.0  # that of standardised targets
    assert means_over(scores, torch.tensor([[-1.0], [1.0]]), targets, [2]) == {"loss": 0.0, "r2": 1.0}


def test_targets_that_do_not_vary() -> None:
    """No division by zero; R2 says nothing then, and 0 is reported."""
    scores = Regression(3.0, 0.0)
    assert scores.std == 1.0
    assert means_over(scores, torch.zeros(5, 1), torch.full((5,), 3.0), [3, 2]) == {"loss": 0.0, "r2": 0.0}


@pytest.mark.parametrize("value", [0.1, 0.7, 123.4])
def test_validation_targets_that_do_not_vary_although_the_others_do(value: float) -> None:
    """The mean of the training targets is another number, which rounding must not turn into a variance."""
    found = means_over(Regression(0.3123, 0.05), torch.zeros(9, 1), torch.full((9,), value), [4, 3, 2])
    assert found["r2"] == 0.0
