"""All strategies in all spaces do what the contract says."""

from __future__ import annotations

from support.strategy_suite import StrategySuite

LR = {"arch_learning_rate": 0.1}
COOLING = {"temperature": 5.0, "temperature_end": 0.3, "temperature_schedule": "exponential"}


class TestRandomSearch(StrategySuite):
    strategy = "random"
    values = {}


class TestDarts(StrategySuite):
    values = {**LR}


class TestSecondOrder(StrategySuite):
    values = {**LR, "bilevel": "unrolled", "finite_difference": 0.1, "arch_weight_decay": 0.001}


class TestExact(StrategySuite):
    values = {**LR, "bilevel": "exact"}


class TestPartial(StrategySuite):
    values = {**LR, "edge_norm": True, "arch_warmup_epochs": 1}


class TestGaea(StrategySuite):
    values = {"arch_learning_rate": 1.0, "sampler": "simplex"}


class TestGaeaEdges(StrategySuite):
    values = {"arch_learning_rate": 2.0, "sampler": "simplex", "edge_norm": True, "entropy_weight": 0.0001}


class TestFairDarts(StrategySuite):
    values = {**LR, "sampler": "sigmoid", "zero_one_weight": 1.0}
    competing = False


class TestDrnas(StrategySuite):
    values = {**LR, "sampler": "dirichlet", "anchor_weight": 0.00001}


class TestGdas(StrategySuite):
    values = {**LR, "sampler": "gumbel_st", **COOLING}


class TestGdasEdges(StrategySuite):
    values = {**LR, "sampler": "gumbel_st", "edge_norm": True, **COOLING}


class TestSnas(StrategySuite):
    values = {**LR, "sampler": "gumbel_soft", **COOLING}


class TestReinmax(StrategySuite):
    values = {**LR, "sampler": "reinmax"}


class TestSmoothDarts(StrategySuite):
    values = {**LR, "perturb": "random", "perturb_size": 0.3}


class TestSmoothDartsAdversary(StrategySuite):
    values = {**LR, "perturb": "adversarial", "perturb_size": 0.3, "perturb_steps": 2}


class TestAuxiliarySkip(StrategySuite):
    values = {**LR, "auxiliary_weight": 0.5}


class TestCosts(StrategySuite):
    values = {**LR, "cost_weight": 0.01, "entropy_weight": 0.0001}
    with_costs = True
