"""Which hyperparameters of gradient-based search go together."""

from __future__ import annotations

from typing import Any

import pytest
from support.gradient_strategy import config_of

from nas.core.errors import ConfigError

REFUSED = [
    ({"sampler": "simplex", "arch_weight_decay": 0.001}, "arch_weight_decay must be left at 0.0 with sampler simplex"),
    ({"sampler": "simplex", "arch_beta1": 0.9}, "arch_beta1 must be left at 0.5 with sampler simplex"),
    ({"temperature": 10.0}, "temperature must be left at 1.0 unless sampler is one of gumbel_st, gumbel_soft, reinmax"),
    (
        {"sampler": "gumbel_st", "temperature_end": 0.1},
        "temperature_end must be left at null where temperature_schedule",
    ),
    ({"sampler": "gumbel_st", "temperature_schedule": "linear"}, "temperature_end must be given"),
    ({"finite_difference": 0.1}, "finite_difference must be left at 0.01 unless bilevel is unrolled, and it is first"),
    ({"perturb_size": 0.1}, "perturb_size must be left at 0.0 where perturb is none, got 0.1"),
    ({"perturb": "random"}, "perturb_size must be above 0 where perturb is random, got 0"),
    (
        {"perturb": "random", "perturb_size": 0.1, "perturb_steps": 3},
        "perturb_steps must be left at 7 unless perturb is",
    ),
    ({"sampler": "reinmax", "perturb": "random", "perturb_size": 0.1}, "perturb must be none with sampler reinmax"),
    ({"zero_one_weight": 1.0}, "zero_one_weight must be left at 0.0 unless sampler is sigmoid, and it is softmax"),
    ({"anchor_weight": 1.0}, "anchor_weight must be left at 0.0 unless sampler is dirichlet"),
    ({"sampler": "sigmoid", "entropy_weight": 1.0}, "entropy_weight must be left at 0.0 with sampler sigmoid"),
    ({"bilevel": "second"}, "bilevel must be one of first, unrolled, exact, got 'second'"),
    ({"sampler": "darts"}, "sampler must be one of softmax, sigmoid"),
]


@pytest.mark.parametrize("values, sentence", REFUSED, ids=lambda each: "-".join(each) if isinstance(each, dict) else "")
def test_what_does_not_go_together_is_refused_by_name(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(**values)
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(f"hyperparameters.{sentence}")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(sampler="simplex", arch_weight_decay=0.1, temperature=2.0, perturb_size=0.1, anchor_weight=1.0)
    assert len(refused.value.problems) == 4
