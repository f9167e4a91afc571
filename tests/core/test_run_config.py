"""Which seed a training has."""

from __future__ import annotations

import pytest

from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.run_config import RunConfig, seed_of


def test_a_trial_has_its_own_seed_unless_repeats_are_paired() -> None:
    assert {seed_of(hparams, 5, 17) for hparams in ({}, {"repeat": 1}, {"repeat": 1, "paired_repeats": False})} == {17}


def test_paired_repeats_share_a_seed_whatever_else_differs() -> None:
    def seed(repeat: int, experiment: int = 5, trial: int = 17, **other: int) -> int:
        return seed_of({"repeat": repeat, "paired_repeats": True, **other}, experiment, trial)

    assert seed(0) == seed(0, trial=18, emsize=3)
    assert len({seed(0), seed(1), seed(0, experiment=6), seed(1, experiment=6)}) == 4
    assert all(0 <= seed(repeat) < 2**31 for repeat in range(50))


def test_paired_repeats_need_a_repeat() -> None:
    with pytest.raises(ConfigError, match="paired_repeats true needs repeat"):
        read({"paired_repeats": True}, RunConfig)
    assert read({"paired_repeats": True, "repeat": 0}, RunConfig)[0].paired_repeats
