"""`nas export --parameters ...`: the exact count of what is written, and records that somebody edited."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support.results import experiment, trial
from support.runs import ROOT

from cnn_nas.architecture import from_hparams
from cnn_nas.counting import count
from cnn_nas.relaxation import RELAXATION
from cnn_nas.space import SPACE
from cnn_nas.trial import ImageTrial
from nas.config.load import load
from nas.config.yaml_text import dump
from nas.core.errors import ConfigError
from nas.core.front import FILE, Front, Row, read_front
from nas.core.relaxation import derive
from nas.core.space import load_space
from nas.results.architecture import Found
from nas.results.export import export_folder, written
from nas.results.show import print_experiment
from nas.results.summary import for_budgets, print_summary
from nas.results.within_budget import wish, within_budget

NETWORK: dict[str, Any] = {"init_channels": 16, "layers": 5, "classes": 10, "input_size": [1, 8, 8]}
LOW, HIGH = 56_154, 313_946


def counted(genotype: Any) -> Any:
    return count(genotype, **{**NETWORK, "input_size": (1, 8, 8)})


def weights(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {
        kind: draw.dirichlet(np.full(8, 0.3), len(shape.edges)).round(6).tolist() for kind, shape in RELAXATION.items()
    }


def finished(folder: Path, package: str = "cnn_nas", **entry: Any) -> Found:
    """A search that has ended, as results read it, with what it left in its folder."""
    tables = weights(0)
    genotype = SPACE.genotype_of(derive(RELAXATION, tables))
    config = load(ROOT / "cnn_nas" / "digits.yaml")
    hparams = {name: value for name, value in config["hyperparameters"].items() if name != "arch_to_use"}
    folder.mkdir(exist_ok=True)
    (folder / "retrain.yaml").write_text(dump({**config, "hyperparameters": {**genotype.to_hparams(), **hparams}}))
    size = counted(genotype)
    known = {"retrained": {**NETWORK, "parameters": size.parameters, "macs": size.macs}, "weights": tables, **entry}
    trace = [{name: value for name, value in known.items() if value is not None}]
    one = trial(0, [0.5], folder=str(folder), space="cnn_nas", genotype=genotype.to_json(), search=trace)
    return Found(SPACE, package, genotype, "the search", experiment(one, searcher="single"), one)


def exported(found: Found, *options: Any) -> Found:
    asked = wish(*options)
    assert asked is not None
    return within_budget(found, asked)


@pytest.mark.parametrize("most", [LOW, LOW + 1, 70_000, 100_000.5, 150_000, 313_000, HIGH])
def test_what_is_written_has_the_count_that_is_told_and_keeps_the_budget(most: float, tmp_path: Path) -> None:
    found = exported(finished(tmp_path / "search"), str(most), None, None, None)
    export_folder(found, "MINE", tmp_path / "out")
    config = load(tmp_path / "out" / "retrain.yaml")
    size = ImageTrial.network_size(ImageTrial.check(config["hyperparameters"], config["data"], 1))
    assert size.parameters <= most and counted(from_hparams(config["hyperparameters"])) == size
    assert f"({size.parameters:,} parameters, {size.macs:,} MACs; decoded" in written(found, "constant", "MINE")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"- parameters: {size.parameters:,}" in card
    # nobody has trained it: what is known is the search's
    assert "- searched: " in card and ", last, of the search: 0.5" in card and "- trained: " not in card
    assert "evaluate_test" in config["hyperparameters"] and "arch_to_use" not in config["hyperparameters"]


def test_ranges_and_both_measures_are_kept(tmp_path: Path) -> None:
    found = exported(finished(tmp_path), None, "2.2e6", None, ["140000", "150000"])
    size = counted(found.genotype)
    assert 140_000 <= size.parameters <= 150_000 and size.macs <= 2.2e6
    assert "140,000..150,000 parameters, at most 2,200,000 MACs" in found.origin


def test_a_search_that_left_no_config_gives_none(tmp_path: Path) -> None:
    found = finished(tmp_path / "search")
    (tmp_path / "search" / "retrain.yaml").unlink()
    files = export_folder(exported(found, "1e5", None, None, None), "MINE", tmp_path / "out")
    assert [Path(file).name for file in files] == ["genotype.json", "genotype.py", "README.md"]
    assert "retrain.yaml" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("3M", None, None, None), "--parameters must be a number such as 3.3e6"),
        (("nan", None, None, None), "--parameters must be a finite number, got nan"),
        (("-1", None, None, None), "--parameters must be at least 0"),
        ((str(LOW - 1), None, None, None), "with init_channels 15 or layers 4 it would fit"),
        ((str(HIGH + 1), None, None, None), "--parameters must be at most 313,946"),
        ((None, None, None, ["2e5", "1e5"]), "low must be at most high"),
        (("6e4", "1e9", None, None), "--macs must be at most"),
        (("1e5", None, None, ["1", "2"]), "--range is of parameters too"),
        (("1e5", None, "0.5", None), "--level chooses on its own"),
        ((None, None, "2", None), "--level must be 0..1, from free to smallest, got 2"),
        ((None, None, "half", None), "--level must be 0..1"),
        ((None, None, "0.5", None), "--level is for searches with levels, which leave a front.json"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused(options: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        exported(finished(tmp_path), *options)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"retrained": None}, "does not say how large the network is that it is retrained as"),
        ({"weights": None}, "has no weights of edges and operations to choose by (strategy random has none)"),
        (
            {"weights": {"normal": [[1.0] * 8] * 13, "reduce": [[1.0] * 8] * 14}},
            "must be 14 x 8 finite numbers for normal",
        ),
        ({"weights": {"recurrent": [[1.0]]}}, "must be 14 x 8 finite numbers for normal cells"),
        ({"weights": {"normal": [["x"] * 8] * 14, "reduce": []}}, "must be 14 x 8 finite numbers for normal cells"),
    ],
)
def test_a_record_that_does_not_do_is_refused(entry: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        exported(finished(tmp_path, **entry), "1e5", None, None, None)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    alone = Found(SPACE, "cnn_nas", SPACE.by_name("DARTS_V2"), "DARTS_V2")
    with pytest.raises(ConfigError, match="--macs chooses from a search with shared weights, and DARTS_V2 is none"):
        exported(alone, None, "5e8", None, None)
    recurrent = load_space("randomNAS_files")
    found = replace(finished(tmp_path), space=recurrent)
    with pytest.raises(
        ConfigError, match="networks of recurrent cells all cost the same, so that a budget decides noth"
    ):
        exported(found, "1e5", None, None, None)


# Fronts


def front(**changes: Any) -> Front:
    rows = []
    for level, score, seed in ((0.0, 0.9, 1), (0.4, 0.8, 2), (1.0, 0.3, 3)):
        genotype = SPACE.genotype_of(derive(RELAXATION, weights(seed)))
        size = counted(genotype)
        rows.append(Row(level, size.parameters, size.macs, score, genotype.to_json(), "level"))
    fields = {
        "space": "cnn_nas",
        "network": NETWORK,
        "metric": "top1_accuracy",
        "smaller_is_better": False,
        "rows": rows,
    }
    return Front(**{**fields, **changes})


def put(folder: Path, made: Front | dict[str, Any]) -> None:
    (folder / FILE).write_text(json.dumps(made.to_json() if isinstance(made, Front) else made))


def test_a_front_comes_back_and_its_levels_and_budgets_choose_rows(tmp_path: Path) -> None:
    made, found = front(), finished(tmp_path)
    put(tmp_path, made)
    assert read_front(tmp_path / FILE, SPACE) == made
    for level, row in (("0", 0), ("0.1", 0), ("0.3", 1), ("1", 2)):
        chosen = exported(found, None, None, level, None)
        assert (
            chosen.genotype.to_json() == made.rows[row].genotype
            and f"level {made.rows[row].level:g} of" in chosen.origin
        )
    most = sorted(row.parameters for row in made.rows)
    best = exported(found, str(most[1]), None, None, None)
    fitting = [row for row in made.rows if row.parameters <= most[1]]
    assert best.genotype.to_json() == max(fitting, key=lambda row: row.score).genotype
    lower = exported(found, str(most[0] - 1), None, None, None)
    assert counted(lower.genotype).parameters < most[0] and "decoded from the weights" in lower.origin
    loss = front(smaller_is_better=True)
    put(tmp_path, loss)
    assert exported(found, str(most[2]), None, None, None).genotype.to_json() == made.rows[2].genotype


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_the_search_ends_with_a_command_that_exports_a_network_of_its_front(measure: str, tmp_path: Path) -> None:
    made, found = front().to_json(), finished(tmp_path)
    assert found.trial is not None and found.experiment is not None
    whole = {**made, "measure": measure}
    sizes = [row[measure] for row in made["rows"]]
    searched = replace(found.experiment, folder=str(tmp_path), reference="my search")
    for data, lines in ((whole, 2), ({**whole, "measure": "seconds"}, 0), ({**whole, "rows": [3]}, 0), ({}, 0)):
        trials = [replace(found.trial, front=data)]
        for printing, *more in ((print_summary,), (print_experiment, 5)):
            console = Console(file=io.StringIO(), width=200)
            printing(console, replace(searched, trials=trials), *more)
            text = console.file.getvalue()
            assert "retrain      nas run" in text or printing is print_experiment
            assert text.count("--out found") * 2 == lines
            told = [line for line in text.splitlines() if f"{min(sizes):,} to {max(sizes):,}" in line]
            assert len(told) == lines // 2 and all(line.startswith("budgets      3 networks of ") for line in told)
    (command,) = [line for line in for_budgets(searched, replace(found.trial, front=whole)) if "nas export" in line]
    words = shlex.split(command)
    assert words == ["nas", "export", "my search", f"--{measure}", str(min(sizes)), "--out", "found"]
    put(tmp_path, made)
    options = {f"--{name}": None for name in ("parameters", "macs")} | {words[3]: words[4]}
    best = exported(found, options["--parameters"], options["--macs"], None, None)
    assert getattr(counted(best.genotype), measure) == min(sizes)


def test_below_a_front_the_weights_of_the_nearest_level_decide(tmp_path: Path) -> None:
    tables = [weights(seed) for seed in (1, 2, 3)]
    made = front(weights=[{"level": level, "weights": each} for level, each in zip((0, 0.4, 1), tables, strict=True)])
    put(tmp_path, made)
    smallest = min(range(3), key=lambda k: made.rows[k].parameters)
    chosen = exported(finished(tmp_path), str(made.rows[smallest].parameters - 1), None, None, None)
    asked = wish(str(made.rows[smallest].parameters - 1), None, None, None)
    assert asked is not None and asked.budget is not None
    decoder = SPACE.decoder(asked.budget, None, "it", **NETWORK)
    assert chosen.genotype == SPACE.genotype_of(decoder.decode(tables[smallest]))


def test_a_level_is_what_it_derives_where_the_front_says_so(tmp_path: Path) -> None:
    """Also where it is dominated, or has no score: each from its own level to that of the next."""
    made, found = front(), finished(tmp_path)
    rows = [replace(made.rows[k], level=level) for level, k in ((0.0, 1), (0.3, 0), (0.5, 2))]
    data = front(levels=rows).to_json()
    data["levels"][1]["score"] = None
    put(tmp_path, data)
    for level, row in (("0", 0), ("0.29", 0), ("0.3", 1), ("0.45", 1), ("1", 2)):
        chosen = exported(found, None, None, level, None)
        assert chosen.genotype.to_json() == rows[row].genotype and f"level {level} of" in chosen.origin
    data["levels"][2]["macs"] = 1
    put(tmp_path, data)
    with pytest.raises(ConfigError, match="level 2: macs must be"):
        exported(found, None, None, "0.1", None)


def edited(**changes: Any) -> dict[str, Any]:
    made = front().to_json()
    made["rows"][1].update(changes)
    return made


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (edited(parameters=60_000), "row 1: parameters must be"),
        (edited(macs="many"), "row 1: macs must be"),
        (edited(level=1.5), "level must be 0..1, got 1.5"),
        (edited(score="good"), "score must be a finite number"),
        (edited(by="hand"), "by must be one of level, projection, got 'hand'"),
        (edited(genotype={"normal": []}), "row 1: "),
        (edited(genotype=[]), "row 1: "),
        (
            {**front().to_json(), "space": "randomNAS_files"},
            "is of the space 'randomNAS_files', and the search of cnn_nas",
        ),
        ({**front().to_json(), "network": {**NETWORK, "layers": 8}}, "row 0: parameters must be"),
        ({**front().to_json(), "network": {"layers": 8}}, "cannot be counted at the size"),
        ({**front().to_json(), "rows": []}, "has no rows"),
        ({**front().to_json(), "rows": 3}, "is not a front that a search wrote"),
        ({"space": "cnn_nas"}, "is not a front that a search wrote ('rows' is missing)"),
    ],
)
def test_a_front_that_was_edited_is_refused(made: dict[str, Any], says: str, tmp_path: Path) -> None:
    found = finished(tmp_path)
    put(tmp_path, made)
    with pytest.raises(ConfigError) as caught:
        exported(found, None, None, "0.4", None)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


def test_a_front_of_another_size_or_none_at_all_is_refused(tmp_path: Path) -> None:
    found = finished(tmp_path)
    bigger = {**NETWORK, "layers": 8}
    rows = []
    for row in front().rows:
        size = count(SPACE.from_json(row.genotype), **{**bigger, "input_size": (1, 8, 8)})
        rows.append(Row(row.level, size.parameters, size.macs, row.score, row.genotype, row.by))
    put(tmp_path, front(network=bigger, rows=rows))
    with pytest.raises(ConfigError, match=r"is of networks of .*'layers': 8.*, and the search of .*'layers': 5"):
        exported(found, None, None, "0", None)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        exported(found, None, None, "0", None)
