"""The eigenvalue against NumPy's, and the stopping rule against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from one_shot.collapse import grown_too_quickly, largest_eigenvalue


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_eigenvalue_is_that_of_the_hessian(seed: int) -> None:
    rng = np.random.RandomState(seed)
    root = rng.randn(9, 9)
    spectrum = np.array([7.0, 3.0, 2.5, 1.0, 0.5, 0.1, 0.0, -0.5, -2.0]) * (-1 if seed == 4 else 1)
    basis = np.linalg.qr(root)[0]
    hessian = torch.from_numpy(basis @ np.diag(spectrum) @ basis.T)

    def gradient(parts):  # of a quadratic plus a quartic that vanishes in second order at 0
        x = torch.cat([part.flatten() for part in parts])
        whole = hessian @ x + 4 * x**3
        return whole[:6].view(2, 3), whole[6:]

    parameters = [torch.zeros(2, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    found = largest_eigenvalue(gradient, parameters, torch.Generator().manual_seed(seed), iterations=60)
    expected = max(np.linalg.eigvalsh(hessian.numpy()), key=abs)
    assert found == pytest.approx(expected, rel=2e-3)
    assert all(not part.any() for part in parameters)


def test_a_flat_loss_has_none() -> None:
    zeros = [torch.zeros(3)]
    assert largest_eigenvalue(lambda parts: [torch.ones(3)], zeros, torch.Generator()) == 0.0


def test_the_rule_compares_two_windows() -> None:
    steady, growing = [1.0] * 10, [1.0] * 5 + [1.4] * 5
    assert not grown_too_quickly(steady, 5, 0.75)
    assert grown_too_quickly(growing, 5, 0.75)  # 1 / 1.4 = 0.71
    assert not grown_too_quickly(growing, 5, 0.7)
    assert not grown_too_quickly(growing[:9], 5, 0.75), "not before two windows are full"
    assert not grown_too_quickly([-1.0] * 10, 5, 0.75)
