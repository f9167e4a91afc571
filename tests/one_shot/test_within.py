"""Searches that must keep a budget or constraints end within them, whatever the strategy."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from support.gradient_strategy import make
from support.runs import ROOT, assert_equal_runs, read_config, stopped_after
from support.search import go_on, search, search_config
from support.strategy_suite import progress, seeded

from cnn_nas.architecture import OPERATIONS, Genotype, from_json
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize, count_size
from cnn_nas.decoding import CellDecoder
from cnn_nas.relaxation import RELAXATION, genotype_of
from cnn_nas.trial import ImageTrial
from nas.check import check as nas_check
from nas.config.load import load
from nas.core.budget import Budget, Range
from nas.core.errors import ConfigError
from nas.core.fields import read
from one_shot.random_search import RandomConfig, RandomSearch
from one_shot.trial import SearchTrial
from one_shot.within import network_of, reach

SIZE = NetworkSize(16, 5, 10, (1, 8, 8))  # of cnn_nas/digits.yaml
LOW, HIGH = 56_154, 313_946


def check(name: str = "digits_darts", **changes: Any) -> Any:
    config = read_config(f"one_shot/{name}.yaml")
    return SearchTrial.check({**config["hyperparameters"], **changes}, config["data"], 1)


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (
            {"parameters": LOW - 1},
            "budget.parameters must be at least 56,154: the network that cnn_nas/digits.yaml trains (init_channels 16, "
            "layers 5) has 56,154..313,946 parameters, got at most 56,153; with init_channels 15 or layers 4 it would fit",
        ),
        ({"parameters": HIGH + 1}, "must be at most 313,946: the network that cnn_nas/digits.yaml trains"),
        ({"parameters": [4e5, 5e5]}, "with init_channels 19 or layers 7 it would fit"),
        ({"parameters": "3M"}, "budget.parameters must be a number such as 3.3e6, or [lowest, highest]"),
        ({"parameters": ["1M", None]}, "budget.parameters.low must be a number or null, got '1M'"),
        ({"parameters": [2e5, 1e5]}, "budget.parameters.low must be at most high, got 200,000 and 100,000"),
        ({"parameters": float("nan")}, "budget.parameters must be a finite number, got nan"),
        ({"macs": -3}, "budget.macs must be at least 0, got -3"),
        ({"flops": 3e6}, "budget.flops cannot be limited; known: parameters, macs"),
        ({}, "budget must be like {parameters: 3.3e6}"),
        (3e6, "budget must be like {parameters: 3.3e6}"),
        ({"parameters": 6e4, "macs": [2e6, None]}, "hyperparameters.budget.macs exclude each other"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_before_data_is_read(budget: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(budget=budget)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            "pydoc_darts",
            {"budget": {"parameters": 3e5}},
            "budget must be left out in the recurrent space, whose cells all",
        ),
        ("pydoc_random", {"constraints": {}}, "constraints must be left out in the recurrent space"),
        (
            "digits_random",
            {"budget": {"parameters": 1e5}, "sample_none": True},
            "sample_none must be false with budget",
        ),
        ("cnn_darts_pt", {"budget": {"parameters": 3e6}}, "select must be argmax with budget, got perturbation"),
        ("digits_darts", {"constraints": {"normal": {"skip": [1, 2]}}}, "constraints.normal.skip is not an operation"),
        (
            "digits_darts",
            {"budget": {"parameters": 6e4}, "constraints": {"normal": {"sep_conv_5x5": [8, None]}}},
            "is at most 60,000 for the network that cnn_nas/digits.yaml trains, and no architecture that keeps the rules",
        ),
        (
            "digits_darts",
            {"budget": {"parameters": 1e5}, "retrain": None},
            "a network as large as the supernet (init_ch",
        ),
        ("digits_darts", {"bugdet": {"parameters": 1e5}}, "bugdet is read by nothing; did you mean budget?"),
    ],
)
def test_what_does_not_go_with_limits_is_refused(name: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(name, **changes)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


def ends() -> dict[str, tuple[int, int]]:
    """The smallest and the largest count among cells with one operation each, which has to be among the ends."""
    found = []
    for last in (False, True):
        at = [(i, i + 1) if last else (0, 1) for i in range(4)]  # predecessors of node i
        for normal, reduce in itertools.product(OPERATIONS, OPERATIONS):
            cells = ([(op, pred) for pair in at for pred in pair] for op in (normal, reduce))
            found.append(count_size(Genotype(normal=tuple(next(cells)), reduce=tuple(next(cells))), SIZE))
    counts = {name: [getattr(size, name) for size in found] for name in ("parameters", "macs")}
    return {name: (min(each), max(each)) for name, each in counts.items()}


def test_a_check_says_how_large_networks_are_and_where_among_them_the_budget_lies() -> None:
    (low, high), macs = ends()["parameters"], ends()["macs"]
    assert (low, high) == (LOW, HIGH)
    network = (
        f"the network that cnn_nas/digits.yaml trains: {low:,} to {high:,} parameters, {macs[0]:,} to {macs[1]:,} MACs"
    )
    assert reach(check("budget_digits")) == [network] and reach(check()) == []
    rules = {"normal": {"skip_connect": [0, 2]}}
    assert reach(check(constraints=rules)) == []
    middle, of = (low + high) // 2, "of the way from the smallest to the largest"
    for budget, says in (
        ({"parameters": middle}, [f"budget: at most {middle:,} parameters, from 0.0% to 50.0% {of}"]),
        ({"parameters": [middle, None]}, [f"budget: at least {middle:,} parameters, from 50.0% to 100.0% {of}"]),
        ({"macs": [1, macs[1]]}, [f"budget: 1..{macs[1]:,} MACs, from 0.0% to 100.0% {of}"]),
        ({"parameters": [low, middle], "macs": [None, 3e6]}, None),
    ):
        for name in ("digits_random", "budget_digits"):
            found = reach(check(name, budget=budget))
            assert found[0] == network and (found[1:] == says or says is None)
        assert len(found) == 1 + len(budget)
    said = {}
    for name, changes in (("digits_darts", [f"hyperparameters.budget.parameters={middle}"]), ("pydoc_random", [])):
        lines = nas_check(ROOT / "one_shot" / f"{name}.yaml", changes, 1, ROOT)
        said[name] = [
            line for line in itertools.takewhile(bool, lines) if "to the largest" in line or "networks" in line
        ]
    both = f"networks     {network}", f"{'':<13}budget: at most {middle:,} parameters, from 0.0% to 50.0% {of}"
    assert said == {"digits_darts": list(both), "pydoc_random": []}


@pytest.mark.parametrize("sampler", ["softmax", "simplex"])
def test_gradient_strategies_derive_within_a_budget(sampler: str) -> None:
    options = {"edge_norm": True, "arch_beta1": 0.5} if sampler == "simplex" else {}
    strategy = make(RELAXATION, sampler=sampler, **options)
    with torch.no_grad():
        for table in strategy.operations.values():
            table.copy_(torch.rand(14, 8, generator=seeded(1)).softmax(1))
    plain = strategy.derive()
    most = count_size(genotype_of(plain), SIZE).parameters - 1
    strategy.decoder = CellDecoder(Budget(Range(None, float(most))), SIZE)
    found = strategy.derive()
    assert found != plain and LOW <= count_size(genotype_of(found), SIZE).parameters <= most
    strategy.decoder = CellDecoder(Budget(Range(None, most + 1.0)), SIZE)
    assert strategy.derive() == plain


def test_random_search_draws_within_a_budget_and_as_before_without_one() -> None:
    (config,) = read({}, RandomConfig)
    strategy = RandomSearch(RELAXATION, config)
    plain = strategy.candidates(seeded(0), 2)
    rules = Constraints.from_mapping({"normal": {"skip_connect": [1, 2]}})
    strategy.decoder = CellDecoder(Budget(Range(LOW, LOW + 5000.0)), SIZE, rules)
    drawn = strategy.candidates(seeded(0), 20)
    sampled = strategy.sample(seeded(0), progress(0)).paths
    assert drawn[:5] == strategy.candidates(seeded(0), 5) and sampled == drawn[0] and plain[0] not in drawn
    for paths in drawn:
        genotype = genotype_of(paths)
        assert count_size(genotype, SIZE).parameters <= LOW + 5000
        assert 1 <= [name for name, _ in genotype.normal].count("skip_connect") <= 2
    assert len({str(paths) for paths in drawn}) > 10


def test_a_whole_search_ends_within_its_budget_at_the_size_of_its_retraining(pictures: Path, tmp_path: Path) -> None:
    """By the count of the trial that trains the result; a folder of images tells its size when it is read."""
    budget = {"parameters": [1.1e5, 1.2e5], "macs": [None, 2e6]}
    options: dict[str, Any] = {"budget": budget, "retrain": "cnn_nas/folder.yaml"}
    runs = {}
    for method, epochs in (("random", 2), ("GAEA", 1)):
        config = search_config("images", method, pictures, train_epochs=epochs, **options)
        run = runs[method] = search(tmp_path / method, config)
        assert run.code == 0, run.err + run.out
        again = load(run.path / "retrain.yaml")
        hparams = {**again["hyperparameters"], "global_batch_size": 8, "cutout_length": 0}  # for so few small images
        size = ImageTrial.network_size(ImageTrial.check(hparams, again["data"], 1))
        assert 1.1e5 <= size.parameters <= 1.2e5 and size.macs <= 2e6
        for entry in run.read("search.json"):
            told = entry["retrained"]
            fixed = {name: told[name] for name in ("init_channels", "layers", "classes")}
            found = count_size(from_json(entry["genotype"]), NetworkSize(**fixed, input_size=tuple(told["input_size"])))
            assert (found.parameters, found.macs) == (told["parameters"], told["macs"])
            assert 1.1e5 <= found.parameters <= 1.2e5
        assert (size.parameters, size.macs) == (told["parameters"], told["macs"])
    with stopped_after(2):
        cut = search(tmp_path / "cut", search_config("images", "random", pictures, **options))
    assert_equal_runs(go_on(cut), runs["random"])


def test_a_result_that_is_trained_on_other_data_is_told() -> None:
    """Data sets and corpora; a data set by another name is the same."""
    own = check()
    assert not SearchTrial.warnings(own)
    (told,) = SearchTrial.warnings(check(retrain="cnn_nas/mnist.yaml"))
    assert told == (
        "hyperparameters.retrain: cnn_nas/mnist.yaml trains and tests on mnist, but the search is on digits; "
        "if no transfer is meant, name a YAML for digits"
    )
    text = read_config("one_shot/pydoc_random.yaml")
    hparams = {**text["hyperparameters"], "retrain": "train_small.yaml"}
    assert any(
        "trains and tests on ptb, but" in told
        for told in SearchTrial.warnings(SearchTrial.check(hparams, text["data"], 1))
    )
    graphene = read_config("one_shot/cnn_kirigami.yaml")
    settings = [
        SearchTrial.check(graphene["hyperparameters"], {**graphene["data"], "dataset": name}, 1)
        for name in ("kirigami", "graphene")
    ]
    assert not any("retrain" in told for each in settings for told in SearchTrial.warnings(each))
    assert network_of(settings[0]) == network_of(settings[1]) and network_of(settings[0]).same_data
