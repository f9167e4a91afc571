"""The measuring code, the table, and that every benchmark says it when there is no GPU. Nothing here is timed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import ROOT

from benchmarks import corpus, measuring, recurrent, rounding, table
from benchmarks.measuring import Row, absolute, command, faster, number, quicker, smaller
from benchmarks.peak import peaks
from benchmarks.plain_corpus import PlainCorpus
from benchmarks.start import first_batch
from data import PTB_WORDS, DataConfig, load_corpus
from randomNAS_files.genotypes import ASHA

FOLDER = ROOT / "benchmarks"
ON_DEVICES = sorted(
    path.stem for path in FOLDER.glob("*.py") if "= arguments(" in path.read_text() and path.stem != "measuring"
)


# --- rows


def test_a_faster_row_is_the_median_of_neighbours() -> None:
    row = faster("work", [(8.0, 2.0), (6.0, 3.0), (9.0, 3.0)], 2.5, 4.0)
    assert (row.plain, row.ours, row.ratio, row.rounds) == (8.0, 3.0, 3.0, 3)
    assert (row.low, row.high) == (2.5, 3.5)  # of 2, 3 and 4
    assert row.reached == "must" and row.goal == "2.5x / 4x: must"
    assert row.result == "3x (2.5 to 3.5)"


def test_of_memory_a_smaller_share_is_better() -> None:
    pairs = [(100.0, 70.0), (100.0, 70.0)]
    assert smaller("work", pairs, 0.8, 0.65).reached == "must"
    assert smaller("work", pairs, 0.8, 0.7).reached == "ambition"
    assert smaller("work", pairs, 0.6, 0.5).reached == "not reached"
    assert smaller("work", pairs, 0.8, 0.65).ratio == pytest.approx(0.7)


def test_of_a_rate_more_is_better() -> None:
    row = quicker("work", "images/s", [(10.0, 125.0), (10.0, 125.0)], 12, 20)
    assert row.ratio == 12.5 and row.reached == "must"


def test_absolute_rows() -> None:
    start = absolute("start", "s", [5.0, 7.0, 6.0, 5.5, 6.5], 6.0)
    assert (start.plain, start.ratio, start.ours, start.low, start.high) == (None, None, 6.0, 5.5, 6.5)
    assert start.reached == "must" and start.goal == "under 6 s: reached"
    assert absolute("start", "s", [6.1, 6.1], 6.0).goal == "under 6 s: not reached"
    assert absolute("work", "images/s", [250_000.0, 250_000.0], 200_000).goal == "at least 200,000 images/s: reached"
    assert absolute("work", "images/s", [150_000.0, 150_000.0], 200_000).reached == "not reached"
    assert start.result == "6 s (5.5 to 6.5)"


@pytest.mark.parametrize(
    ("must", "ambition", "reached", "goal"),
    [
        (None, None, "", ""),
        (8, 8, "ambition", "8x: reached"),
        (8, 20, "must", "8x / 20x: must"),
        (5, 10, "ambition", "5x / 10x: ambition"),
        (11, 20, "not reached", "11x / 20x: not reached"),
        (11, 11, "not reached", "11x: not reached"),
        (9, None, "must", "9x: reached"),
    ],
)
def test_what_was_reached(must: float | None, ambition: float | None, reached: str, goal: str) -> None:
    row = faster("work", [(10.0, 1.0), (10.0, 1.0)], must, ambition)
    assert row.reached == reached and row.goal == goal


def test_numbers_have_three_digits_or_all() -> None:
    assert [number(value) for value in (1.4567, 23.456, 0.0123, 999.4, 1234.5, 200_000)] == [
        *("1.46", "23.5", "0.0123", "999"),
        *("1,234", "200,000"),
    ]


def test_the_command_names_no_folder_of_this_machine() -> None:
    words = ["--data-dir", "/home/me/ptb", "--other=~/x", "--here=./y", "--rounds", "3", "--save"]
    assert (
        command("corpus", words)
        == "python -m benchmarks.corpus --data-dir DIR --other=DIR --here=DIR --rounds 3 --save"
    )


# --- files and table


def save(monkeypatch: pytest.MonkeyPatch, folder: Path, benchmark: str, *rows: Row) -> dict[str, Any]:
    monkeypatch.setattr(measuring, "RESULTS", folder)
    monkeypatch.setattr(measuring, "commit", lambda: "abc1234")
    monkeypatch.setattr(sys, "argv", ["x", "--save"])
    measuring.finish(benchmark, rows, argparse.Namespace(device="cpu", save=True))
    (path,) = folder.glob(f"*-{benchmark}-cpu.json")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def test_a_saved_result_says_what_was_measured_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = faster("work", [(10.0, 1.0), (10.0, 1.0)], 5, 20)
    result = save(monkeypatch, tmp_path / "results", "one", row)
    assert result["command"] == "python -m benchmarks.one --save" and result["commit"] == "abc1234"
    assert torch.__version__.startswith(result["machine"]["torch"]) and result["machine"]["cores"] > 0
    (saved,) = result["rows"]
    assert saved.pop("reached") == "must" and Row(**saved) == row


def sample(folder: Path, date: str, name: str, device: str, *rows: Row, simd: str = "", only: str = "") -> None:
    """A result file as `finish` saves it, of a machine that never was."""
    machine: dict[str, Any] = {"cpu": "Some CPU", "cores": 2, "threads": 1}
    machine |= ({"gpu": "Some GPU"} if device == "cuda" else {}) | ({"simd": simd} if simd else {})
    benchmark = name.removesuffix(f"-{only}")
    content = {"date": date, "benchmark": benchmark, "device": device, "commit": "abc1234", "machine": machine}
    content |= {"only": only} if only else {}
    content |= {"command": f"python -m benchmarks.{benchmark}", "rows": [{**vars(row), "reached": ""} for row in rows]}
    (folder / f"{date}-{name}-{device}.json").write_text(json.dumps(content))


def test_the_table_has_the_newest_of_each_benchmark_and_device(tmp_path: Path) -> None:
    pairs = [(10.0, 1.0), (10.0, 1.0)]
    sample(tmp_path, "2026-01-02", "two", "cpu", faster("old", pairs))
    sample(tmp_path, "2026-01-03", "two", "cpu", faster("a | b", pairs, 20, 30, "note"), smaller("memory", pairs))
    sample(tmp_path, "2026-01-01", "two", "cuda", absolute("start", "s", [6.0, 6.0], 10.0))
    sample(tmp_path, "2026-01-01", "one", "cpu", absolute("rate", "images/s", [1e5, 1e5], 2e5))
    assert table.markdown(table.newest(tmp_path)).splitlines() == [
        "| work | plain | ours | ratio (middle half) | goal (must / ambition) | run |",
        "| --- | --- | --- | --- | --- | --- |",
        "| rate |  | 100,000 images/s (middle half 100,000 to 100,000) |  "
        "| at least 200,000 images/s: **not reached** | 1 |",
        "| a \\| b; note | 10 s | 1 s | 10x (10 to 10) | 20x / 30x: **not reached** | 2 |",
        "| memory | 10 MB | 1 MB | 0.1x (0.1 to 0.1) |  | 2 |",
        "| start |  | 6 s (middle half 6 to 6) |  | under 10 s: reached | 3 |",
        "",
        "1. Some CPU, 2 cores, 1 thread; 2026-01-01, abc1234, `python -m benchmarks.one`",
        "2. Some CPU, 2 cores, 1 thread; 2026-01-03, abc1234, `python -m benchmarks.two`",
        "3. Some GPU (Some CPU, 2 cores, 1 thread); 2026-01-01, abc1234, `python -m benchmarks.two`",
    ]


def test_the_table_keeps_kinds_of_machines_apart(tmp_path: Path) -> None:
    for date, simd, ratio in (("2026-01-01", "", 2.0), ("2026-01-02", "AVX2", 3.0), ("2026-01-03", "AVX2", 4.0)):
        sample(tmp_path, date, "one", "cpu", faster("work", [(ratio, 1.0), (ratio, 1.0)]), simd=simd)
    first, second, _, *places = table.markdown(table.newest(tmp_path)).splitlines()[2:]
    assert "| 2x (2 to 2) |" in first and "| 4x (4 to 4) |" in second
    assert "1. Some CPU, 2 cores" in places[0] and "2. Some CPU AVX2, 2 cores" in places[1]


def test_no_results_make_no_table(tmp_path: Path) -> None:
    assert table.markdown(table.newest(tmp_path / "none")) == ""


def test_the_table_takes_the_place_of_the_last_one() -> None:
    page = f"before\n{table.OPEN}| old |\n{table.CLOSE}\nafter\n"
    assert table.inserted(page, "| new |\n") == f"before\n{table.OPEN}| new |\n{table.CLOSE}\nafter\n"
    for wrong in ("neither", table.OPEN, table.CLOSE + table.OPEN):
        with pytest.raises(ValueError, match=r"docs/benchmarks\.md must hold"):
            table.inserted(wrong, "")


def test_the_table_is_printed_or_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(table.OPEN + table.CLOSE)
    sample(tmp_path, "2026-01-02", "two", "cpu", faster("work", [(10.0, 1.0), (10.0, 1.0)]))
    monkeypatch.setattr(table, "PAGE", page)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["x"])
    table.main()
    printed = capsys.readouterr().out
    assert "| work | 10 s | 1 s |" in printed and page.read_text() == table.OPEN + table.CLOSE
    monkeypatch.setattr(sys, "argv", ["x", "--write"])
    table.main()
    assert page.read_text() == table.OPEN + printed + table.CLOSE


def test_the_page_has_the_table_of_the_results() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.inserted(page, table.markdown(table.newest(table.RESULTS))) == page


# --- the benchmarks


def test_the_benchmarks_were_found() -> None:
    assert {"augmentation", "corpus", "start"} <= set(ON_DEVICES)


@pytest.mark.parametrize("name", ON_DEVICES)
def test_without_a_gpu_nothing_is_measured_on_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [name, "--device", "cuda"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert left.value.code == 0
    assert capsys.readouterr().out == "no CUDA device here: nothing measured\n"


def test_too_few_rounds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "1"])
    with pytest.raises(SystemExit):
        measuring.arguments("Something.", rounds=3)
    assert "--rounds must be at least 2, got 1" in capsys.readouterr().err


def test_the_made_up_text_is_the_same_to_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(corpus, "LINES", {"train": 600, "valid": 20, "test": 30})
    folder, kind = corpus.find_or_make(str(tmp_path / "none"), tmp_path / "text")
    ours = load_corpus(DataConfig(kind, str(folder), str(tmp_path / "cache")))
    plain = PlainCorpus(folder, "{}.txt")
    corpus.check(plain, ours)
    assert len(plain.dictionary) == PTB_WORDS and len(plain.train) == 600 * 22
    plain.valid[3] += 1
    with pytest.raises(AssertionError):
        corpus.check(plain, ours)


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended before its first batch: no such thing"):
        first_batch(["-c", "import sys; sys.exit('no such thing')"], tmp_path, [])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_recurrent_benchmarks_run_on_every_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "SIZE", 8)
    monkeypatch.setattr(recurrent, "CONFIG", dataclasses.replace(recurrent.CONFIG, emsize=8, nhid=8, nhidlast=8))
    pairs = recurrent.layers(ASHA, 8, device), recurrent.steps(ASHA, device), recurrent.evaluations(ASHA, 3, device)
    for plain, ours in pairs:
        plain(), ours()


# --- peak memory


KEEPERS = """
import torch

def keepers(device):
    data, other, kept = torch.zeros(2_500_000, device=device), torch.zeros(2_500_000, device=device), []

    def plain():  # needs 100 MB for a while
        torch.empty(100_000_000, dtype=torch.uint8, device=device).fill_(data[0])

    def ours():  # needs 20 MB for a while, and keeps 40 MB from its first call on
        if not kept:
            kept.append(torch.empty(40_000_000, dtype=torch.uint8, device=device))
        torch.empty(20_000_000, dtype=torch.uint8, device=device).fill_(other[0])

    return plain, ours
"""


def test_the_peak_has_what_is_kept_from_the_first_call_and_what_was_there_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both have 10 MB before they are called; nothing of the other side is counted."""
    (tmp_path / "keepers.py").write_text(KEEPERS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    plain, ours = peaks("keepers:keepers", "cpu")
    assert plain == pytest.approx(10 + 100, abs=1) and ours == pytest.approx(10 + 60, abs=1)


def test_a_side_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1: (.|\n)*no_such_function"):
        peaks("benchmarks.recurrent:no_such_function", "cpu")


@pytest.mark.parametrize("name", ["recurrent", "cnn_step"])
def test_memory_can_be_measured_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(module, "peaks", lambda *_: (10.0, 5.0))
    chosen = argparse.Namespace(device="cpu", only="memory", rounds=2)
    assert {(row.unit, row.ratio) for row in module.rows(chosen)} == {("MB", 0.5)}


def test_rows_measured_alone_take_the_place_of_older_ones(tmp_path: Path) -> None:
    pairs = [(10.0, 1.0), (10.0, 1.0)]
    sample(tmp_path, "2026-01-02", "two", "cpu", faster("step", pairs), smaller("memory", pairs))
    sample(
        tmp_path, "2026-01-01", "two-memory", "cpu", smaller("memory", [(10.0, 2.0)] * 2), only="memory"
    )  # superseded
    sample(tmp_path, "2026-01-03", "two-memory", "cpu", smaller("memory", [(10.0, 5.0)] * 2), only="memory")
    sample(tmp_path, "2026-01-03", "one-memory", "cpu", smaller("memory", [(10.0, 7.0)] * 2), only="memory")
    found = [
        (result["date"], [(row["work"], row["ratio"]) for row in result["rows"]]) for result in table.newest(tmp_path)
    ]
    assert found == [
        *[("2026-01-03", [("memory", 0.7)])],  # of a benchmark that was never measured as a whole
        *[("2026-01-02", [("step", 10.0)]), ("2026-01-03", [("memory", 0.5)])],
    ]


def test_a_saved_part_says_so_until_the_whole_is_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = smaller("memory", [(10.0, 1.0), (10.0, 1.0)])
    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    monkeypatch.setattr(measuring, "commit", lambda: "abc1234")
    monkeypatch.setattr(sys, "argv", ["x", "--only", "memory", "--save"])
    measuring.finish("two", [row], argparse.Namespace(device="cpu", save=True, only="memory"))
    (part,) = tmp_path.iterdir()
    content = json.loads(part.read_text())
    assert part.name.endswith("-two-memory-cpu.json") and (content["benchmark"], content["only"]) == ("two", "memory")
    assert content["command"] == "python -m benchmarks.two --only memory --save"
    measuring.finish("two", [row], argparse.Namespace(device="cpu", save=True, only=None))
    (whole,) = tmp_path.iterdir()
    assert whole.name.endswith("-two-cpu.json") and "only" not in json.loads(whole.read_text())


# --- rounding


def test_tf32_is_rounded_to_11_digits() -> None:
    ulp = 2.0**-10
    numbers = torch.tensor([1 + ulp, 1 + ulp / 2, 1 + 1.5 * ulp, -1 - 0.51 * ulp, 0.0, 3e38])
    expected = torch.tensor([1 + ulp, 1, 1 + 2 * ulp, -1 - ulp, 0.0, 3e38])
    assert torch.equal(rounding.tf32(numbers)[:5], expected[:5])
    assert rounding.tf32(numbers)[5] == pytest.approx(3e38, rel=ulp / 2)
    assert rounding.tf32(numbers.double()).equal(numbers.double())


def test_fewer_digits_put_gradients_further_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": 4, "LENGTH": 3, "WORDS": 20}.items():
        monkeypatch.setattr(rounding, name, value)
    for kind, count in (("mixture, batch norm of states", 2), ("single cells", 1)):
        found = list(rounding.errors(kind, 0, "cpu"))
        assert len(found) == 3 * count
        full, tf32, half = (error for _, name, error in found if name == "weights")
        assert 0 < 8 * full < tf32 and 2 * tf32 < half < 0.5
