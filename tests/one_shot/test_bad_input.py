"""What a search refuses, before any data is read: each sentence names the field, the rule and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import Laptop, Run, read_config
from support.search import SEARCH_IMAGES, search, search_config

from nas.core.errors import ConfigError
from nas.core.identity import MismatchError
from one_shot.trial import SearchTrial

IMAGES, TEXT, ENAS = "one_shot/digits_darts.yaml", "one_shot/pydoc_darts.yaml", "one_shot/rnn_enas_small.yaml"
BUDGET = "one_shot/budget_digits.yaml"


def problems(name: str, data: dict[str, Any] | None = None, processes: int = 1, **changes: Any) -> list[str]:
    config = read_config(name)
    hparams = {key: value for key, value in {**config["hyperparameters"], **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        SearchTrial.check(hparams, {**config["data"], **(data or {})}, processes)
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            IMAGES,
            {"strategy": "gradiant"},
            "hyperparameters.strategy 'gradiant' is not one of gradient, random, enas, budget; did you mean",
        ),
        (
            IMAGES,
            {"strategy": None},
            "hyperparameters.strategy is missing; it must be one of gradient, random, enas, budget",
        ),
        (
            IMAGES,
            {"space": "convolution"},
            "hyperparameters.space 'convolution' is not one of convolutional, recurrent",
        ),
        (IMAGES, {"sampler": "softmx"}, "hyperparameters.sampler must be one of softmax, sigmoid"),
        (TEXT, {"partial": 4}, "hyperparameters.partial is read by nothing"),
        (TEXT, {"op_drop": 0.1}, "hyperparameters.op_drop is read by nothing"),
        (TEXT, {"auxiliary_weight": 1.0}, "auxiliary_weight above 0 and auxiliary_skip true go together"),
        (IMAGES, {"auxiliary_skip": True}, "auxiliary_weight above 0 and auxiliary_skip true go together"),
        (TEXT, {"cost_weight": 0.1}, "hyperparameters.cost_weight must be 0 in the recurrent space"),
        (IMAGES, {"init_channels": 6, "partial": 4}, "hyperparameters.partial must divide init_channels 6, got 4"),
        (IMAGES, {"init_channels": 4, "partial": 4}, "hyperparameters.init_channels must be at least 8"),
        (IMAGES, {"partial": 0}, "hyperparameters.partial must be at least 1, got 0"),
        (
            IMAGES,
            {"finite_difference": 0, "bilevel": "unrolled"},
            "hyperparameters.finite_difference must be above 0, got 0",
        ),
        (IMAGES, {"finite_difference": 0.1}, "finite_difference must be left at 0.01 unless bilevel is unrolled"),
        (IMAGES, {"arch_learning_rate": 0}, "hyperparameters.arch_learning_rate must be above 0, got 0"),
        (IMAGES, {"arch_learning_rate": -1}, "hyperparameters.arch_learning_rate must be above 0, got -1"),
        (IMAGES, {"learning_rate": -0.1}, "hyperparameters.learning_rate must be above 0, got -0.1"),
        (
            IMAGES,
            {"learning_rate_end": 1},
            "hyperparameters.learning_rate_end must be at most learning_rate 0.025, got 1",
        ),
        (IMAGES, {"sampler": "simplex"}, "arch_weight_decay must be left at 0.0 with sampler simplex"),
        (IMAGES, {"op_stop": 0.4}, "hyperparameters.op_stop is read by nothing"),
        (
            IMAGES,
            {"global_batch_size": 720},
            "hyperparameters.global_batch_size must be at most 719, the number of images to",
        ),
        (IMAGES, {"evaluate_test": True}, "hyperparameters.evaluate_test must be false, got true: a search never sees"),
        (IMAGES, {"retrain": "cnn_nas/digit.yaml"}, "hyperparameters.retrain must be a YAML of this repository"),
        (IMAGES, {"retrain": "train_small.yaml"}, "must train one architecture of cnn_nas, train_small.yaml does not"),
        (IMAGES, {"retrain": "one_shot/digits_darts.yaml"}, "must train one architecture of cnn_nas"),
        (IMAGES, {"stop_eigenvalue_ratio": 0.7}, "hyperparameters.eigenvalue_epochs must be at least 1"),
        (IMAGES, {"arch_warmup_epochs": 15}, "hyperparameters.arch_warmup_epochs must be below train_epochs 15"),
        (TEXT, {"bilevel": "exact", "fast": True}, "hyperparameters.fast must not be true with bilevel exact"),
        (
            IMAGES,
            {"eval_batch_size": 1},
            "hyperparameters.eval_batch_size must be at least 2, as a supernet normalises",
        ),
        (IMAGES, {"flip": True}, "hyperparameters.flip must be false, as a digit in the mirror"),
        (IMAGES, {"arch_to_use": "DARTS_V2"}, "hyperparameters.arch_to_use is read by nothing"),
        (
            TEXT,
            {"eval_batch_size": 1},
            "with state_norm global_batch_size and eval_batch_size must be at least 2 a process",
        ),
        (
            TEXT,
            {"sharing": "edge"},
            "hyperparameters: sharing, output, one_activation, fixed_topology and hidden_choices must be left out, and "
            "nodes be one number, with strategy gradient, which mixes cells, got sharing edge",
        ),
        (TEXT, {"nodes": [3, 8]}, "with strategy gradient, which mixes cells, got nodes 3 to 8"),
        (TEXT, {"one_activation": True}, "with strategy gradient, which mixes cells, got one_activation true"),
        (ENAS, {"fixed_topology": "line"}, "hyperparameters.fixed_topology must be one of chain, tree, got 'line'"),
        (
            ENAS,
            {"nodes": [8, 3]},
            "hyperparameters.nodes must be a number, or the fewest and the most, such as [3, 8], got [8, 3]",
        ),
        (ENAS, {"nodes": [0, 3]}, "hyperparameters.nodes must be a list of which each is at least 1, got [0, 3]"),
        (
            ENAS,
            {"hidden_choices": [32, 128]},
            "hyperparameters.hidden_choices must end with nhid 64, the block of which the sizes are parts, got [32, 128]",
        ),
        (
            ENAS,
            {"hidden_choices": [64, 32]},
            "hyperparameters.hidden_choices must be two or more sizes that rise, got [64, 32]",
        ),
        (
            ENAS,
            {"hidden_choices": [64]},
            "hyperparameters.hidden_choices must be two or more sizes that rise, got [64]",
        ),
        (
            ENAS,
            {"hidden_choices": [32, 64], "against_random": 3},
            "hyperparameters.against_random must be 0 with hidden_choices, as that experiment trains all cells with as many",
        ),
        (ENAS, {"hidden_choices": 64}, "hyperparameters.hidden_choices must be a list, not empty or null, got 64"),
        (ENAS, {"hidden_choices": [0, 64]}, "hidden_choices must be a list of which each is at least 1, got [0, 64]"),
        (ENAS, {"parameter_price": -1}, "hyperparameters.parameter_price must be at least 0, got -1"),
        (ENAS, {"nodes": 101}, "hyperparameters.nodes must be at most 100, got 101"),
        (ENAS, {"nodes": [3, "8"]}, "hyperparameters.nodes must be a list of which each is a whole number, not text"),
        (
            "one_shot/pydoc_random.yaml",
            {"fixed_topology": "tree", "state_norm": True},
            "hyperparameters.state_norm must be false with fixed_topology tree, where each step trains a cell without",
        ),
        (TEXT, {"output": "loose_ends"}, "with strategy gradient, which mixes cells, got output loose_ends"),
        (
            "one_shot/pydoc_random.yaml",
            {"sharing": "edge", "state_norm": True},
            "hyperparameters.state_norm must be false with sharing edge, where each step trains a cell without batch norm",
        ),
        (BUDGET, {"knots": 1}, "hyperparameters.knots must be at least 2, got 1"),
        (BUDGET, {"hidden": 0}, "hyperparameters.hidden must be at least 1"),
        (BUDGET, {"level": 1.5}, "hyperparameters.level must be"),
        (BUDGET, {"level": -0.1}, "hyperparameters.level must be"),
        (BUDGET, {"temperature": 0}, "hyperparameters.temperature must be above 0, got 0"),
        (BUDGET, {"penalty_low": 0}, "hyperparameters.penalty_low must be above 0, got 0"),
        (
            BUDGET,
            {"penalty_low": 2, "penalty_high": 1},
            "hyperparameters.penalty_low must be at most penalty_high 1, got 2",
        ),
        (BUDGET, {"level": 0.5, "levels_per_step": 2}, "levels_per_step must be 1 where level is fixed, got 2"),
        (BUDGET, {"mixing": "mean"}, "hyperparameters.mixing must be one of softmax, gumbel, straight_through"),
        (
            BUDGET,
            {"mixing": "softmax", "temperature": 2.0},
            "temperature must be left out with mixing softmax, which has",
        ),
        (
            BUDGET,
            {"temperature_end": 0.5},
            "temperature_end and a temperature_schedule other than constant go together",
        ),
        (BUDGET, {"measure": "flops"}, "hyperparameters.measure must be one of parameters, macs"),
        (BUDGET, {"finite_difference": 0.1}, "finite_difference must be left at 0.01 unless bilevel is unrolled"),
        (
            BUDGET,
            {"retrain": None},
            "hyperparameters.retrain must be given with strategy budget, as the network that it",
        ),
        (BUDGET, {"arch_warmup_epochs": 99}, "hyperparameters.arch_warmup_epochs must be below train_epochs"),
        (BUDGET, {"select": "perturbation"}, "hyperparameters.select is for strategy gradient"),
        (BUDGET, {"sampler": "softmax"}, "hyperparameters.sampler is read by nothing"),
        (TEXT, {"level": 0.5}, "hyperparameters.level is read by nothing"),
        (
            "one_shot/pydoc_darts.yaml",
            {"strategy": "budget", "sampler": None},
            "hyperparameters.strategy must not be budget in the recurrent space, as all its cells cost the same",
        ),
        (TEXT, {"nonmono": 5}, "hyperparameters.nonmono is read by nothing"),
        (
            "one_shot/digits_random.yaml",
            {"arch_learning_rate": 0.1},
            "hyperparameters.arch_learning_rate is read by nothing",
        ),
        (
            "one_shot/digits_random.yaml",
            {"rescore": 300},
            "hyperparameters.rescore must be at most score_archs 200, got 300",
        ),
        ("one_shot/digits_random.yaml", {"epoch_archs": 0}, "hyperparameters.epoch_archs must be at least 1, got 0"),
        (
            "one_shot/digits_random.yaml",
            {"select": "perturbation"},
            "hyperparameters.select is for strategy gradient",
        ),
        (
            "one_shot/digits_random.yaml",
            {"arch_data": "part"},
            "hyperparameters.arch_data is for strategies that learn",
        ),
        (
            ENAS,
            {"cells_per_update": 1},
            "hyperparameters.cells_per_update must be at least 2 with baseline leave_one_out",
        ),
        (ENAS, {"temperature": 0}, "hyperparameters.temperature must be above 0, got 0"),
        (ENAS, {"tanh_constant": -1}, "hyperparameters.tanh_constant must be above 0, got -1"),
        (
            ENAS,
            {"select": "perturbation"},
            "hyperparameters.select is for strategy gradient, got 'perturbation' with enas",
        ),
        (ENAS, {"eigenvalue_epochs": 1}, "hyperparameters.eigenvalue_epochs is for strategy gradient, got 1 with enas"),
        (
            ENAS,
            {"against_random": 5, "retrain": None},
            "hyperparameters.against_random must be 0 without retrain, which says how cells are retrained, got 5",
        ),
        (ENAS, {"against_random": -1}, "hyperparameters.against_random must be at least 0, got -1"),
        (
            TEXT,
            {"against_random": 5},
            "hyperparameters.against_random is for strategies that draw whole cells, random and enas",
        ),
        (
            "one_shot/digits_random.yaml",
            {"against_random": 5},
            "hyperparameters.against_random must be 0 in the convolutional space, as only the recurrent trial reads",
        ),
        (ENAS, {"sampler": "softmax"}, "hyperparameters.sampler is read by nothing"),
        (
            ENAS,
            {"response": "lookahead", "lookahead": "momentum"},
            "hyperparameters.lookahead must be gradient or last_gradient, as the recurrent space trains weights without "
            "momentum, got momentum",
        ),
        (
            ENAS,
            {"response": "joint", "controller_updates": 1},
            "hyperparameters.shared_steps must be at most joint_horizon 1 with response joint",
        ),
        (
            "one_shot/digits_random.yaml",
            {"auxiliary_skip": True},
            "hyperparameters.auxiliary_skip is for strategy gradient",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_it_is_named(name: str, changes: dict[str, Any], says: str) -> None:
    found = problems(name, **changes)
    assert any(says in problem for problem in found), found
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        (
            IMAGES,
            {"validation_fraction": 0},
            "data.validation_fraction must be above 0, as a search is judged by images",
        ),
        (IMAGES, {"validation_fraction": 0.0001}, "data.validation_fraction must leave images on both sides"),
        (IMAGES, {"corpus": "ptb"}, "data.corpus is read by nothing"),
        (TEXT, {"dataset": "digits"}, "data.dataset is read by nothing"),
    ],
)
def test_the_data_section_too(name: str, data: dict[str, Any], says: str) -> None:
    found = problems(name, data)
    assert any(says in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"controller": "attention"}, "controller: heads then, attention now"),
        ({"controller_hidden": 64}, "controller_hidden: 100 then, 64 now"),
        ({"temperature": 1.0}, "temperature: 5.0 then, 1.0 now"),
        ({"tanh_constant": 2.25}, "tanh_constant: 2.5 then, 2.25 now"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_controller_is_refused(change: dict[str, Any], says: str) -> None:
    config = read_config(ENAS)
    then, now = (
        SearchTrial.check({**config["hyperparameters"], **changes}, config["data"], 1) for changes in ({}, change)
    )
    now.check_method(now.method)
    with pytest.raises(MismatchError) as caught:
        now.check_method(then.method)
    (found,) = caught.value.problems
    assert f"the checkpoint is of another strategy: {says}; put it back" in found


def test_enas_is_for_recurrent_cells() -> None:
    (found,) = problems(IMAGES, strategy="enas", **dict.fromkeys(("sampler", "arch_weight_decay", "arch_beta1")))
    assert found.startswith(
        "hyperparameters.strategy must not be enas in the convolutional space, as its controller draws"
    )
    assert found.endswith("; take one of gradient, random, budget")


def test_all_problems_are_told_at_once() -> None:
    found = problems(IMAGES, arch_learning_rate=0, learning_rate=0, partial=0, momentum=2)
    assert len(found) == 4


def test_a_batch_must_fit_the_processes() -> None:
    (found,) = problems(IMAGES, processes=3)
    assert "global_batch_size must be a multiple of the 3 processes" in found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"sampler": "gumbel_soft"},
            "the checkpoint is of another strategy: sampler: softmax then, gumbel_soft now",
        ),
        ({"edge_norm": "true"}, "edge_norm: False then, True now"),
        ({"init_channels": 4}, "the checkpoint is of another architecture: init_channels: 2 then, 4 now"),
        ({"layers": 3}, "the checkpoint is of another architecture: layers: 2 then, 3 now"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_supernet_or_strategy_is_refused(
    change: dict[str, Any], says: str, searched: Run, tmp_path: Path
) -> None:
    checkpoint = searched.path / "checkpoints" / searched.read("run.json")["latest"]["uuid"]
    overrides = [word for key, value in change.items() for word in ("--set", f"hyperparameters.{key}={value}")]
    done = Laptop(tmp_path / "other", tmp_path, SEARCH_IMAGES).main(
        ["--resume", str(checkpoint), "--experiments", str(tmp_path / "other"), *overrides]
    )
    assert done.code == 2 and says in done.err, done.err


def test_a_warm_start_takes_the_weights_of_another_strategy(searched: Run, pictures: Path, tmp_path: Path) -> None:
    checkpoint = searched.path / "checkpoints" / searched.read("run.json")["latest"]["uuid"]
    config = search_config("images", "random", pictures, train_epochs=1, learning_rate=1e-9, learning_rate_end=0)
    run = search(tmp_path / "warm", config, "--warm-start", str(checkpoint))
    assert run.code == 0, run.err
    then, now = (each.checkpoint()["models_state_dict"][0] for each in (searched, run))
    assert all(torch.allclose(value, now[name], atol=1e-6) for name, value in then.items())


@pytest.fixture(scope="module")
def searched(of_the_module: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one epoch."""
    config = search_config("images", "DARTS, first order", pictures, train_epochs=1)
    return search(tmp_path_factory.mktemp("searched") / "run", config)
