"""A checkpoint of a cluster, downloaded: resumed, scored, and begun with on this machine, with the numbers of a run here."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forked import Forked, Two
from support.runs import (
    DEADLINE,
    HARD,
    IMAGES,
    RECURRENT,
    Kind,
    Laptop,
    Run,
    after_step,
    assert_same,
    master_of,
    run_on,
    state_of,
    stopped_after,
    torchrun,
)
from support.stub_master import StubMaster

from nas.cli.main import main as nas
from randomNAS_files.architecture import Genotype

SEED = "300"  # the stub's trial seed
STRAIGHT = f"reproducibility.experiment_seed={SEED}"
PICTURED: dict[str, Any] = {"train_epochs": 3, "learning_rate": 0.1, "evaluate_test": True, "drop_path_prob": 0.3}
CELL = Genotype((("sigmoid", 0), ("tanh", 1), ("tanh", 0)))


def downloaded(master: StubMaster, place: Path, number: int = -1) -> Path:
    """What `det checkpoint download UUID` leaves; nothing of the cluster is needed after that."""
    uuid = master.checkpoints[number]["uuid"]
    return Path(shutil.copytree(master.storage / uuid, place / "checkpoints" / uuid))


def fresh(arguments: list[str], kind: Kind, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own, elsewhere."""
    command = [*arguments, "--threads", "1"]
    process = Forked(command, kind, cwd)
    out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.wait(), out, err)


@pytest.fixture(scope="module", params=[RECURRENT, IMAGES], ids=["recurrent", "images"])
def pair(
    request: pytest.FixtureRequest, module_laptop: Laptop, module_darkroom: Laptop, tmp_path_factory: Any
) -> Iterator[tuple[Laptop, Run, StubMaster, Kind]]:
    """A run that stayed on this machine, and the same trial on a cluster, stopped there in the middle."""
    kind = request.param
    laptop, options = (module_laptop, HARD) if kind is RECURRENT else (module_darkroom, PICTURED)
    straight = laptop.train(STRAIGHT, **options)
    assert straight.code == 0, straight.err
    middle = straight.values("validation", "batches")[1]
    master = master_of(laptop.data, tmp_path_factory.mktemp("storage"), kind=kind, **options)
    master.preempt_after = middle
    run_on(master, kind)
    assert master.checkpoints[-1]["steps_completed"] == middle
    yield laptop, straight, master, kind


def test_resumed_here(pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path) -> None:
    _, straight, master, kind = pair
    folder = downloaded(master, tmp_path)
    done = fresh(["--resume", str(folder)], kind, tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "experiments").iterdir()
    run = Run(0, done.stdout, done.stderr, path)
    assert run.read("run.json")["status"] == "completed" and run.read("run.json")["resumed_from"] == str(folder)
    assert_same(state_of(run.checkpoint()), state_of(straight.checkpoint()))
    skipped = len(straight.metrics("validation")) - len(run.metrics("validation"))
    assert skipped == 2 and run.metrics("validation") == straight.metrics("validation")[2:]
    assert run.metrics("test") == straight.metrics("test") != []
    assert run.read("genotype.json") == straight.read("genotype.json")


def test_resumed_here_and_stopped_once_more(pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path) -> None:
    _, straight, master, kind = pair
    laptop = Laptop(tmp_path / "experiments", pair[0].data, kind)
    with stopped_after(master.checkpoints[-1]["steps_completed"] + 2):
        run = laptop.main(here(laptop, "--resume", str(downloaded(master, tmp_path))))
    assert run.read("run.json")["status"] == "stopped"
    again = laptop.resume(run.path)
    assert again.read("run.json")["status"] == "completed"
    assert_same(state_of(again.checkpoint()), state_of(straight.checkpoint()))


def here(laptop: Laptop, *arguments: str) -> list[str]:
    """A command line whose new runs go where the others are."""
    return ["--experiments", str(laptop.experiments), *arguments]


def numbers(text: str, line: str) -> list[float]:
    (found,) = [each for each in text.splitlines() if each.startswith(f"{line} ")]
    return sorted(float(number) for number in re.findall(r"\d+\.\d+", found))


def rounded(record: dict[str, Any]) -> list[float]:
    others = ("group", "step", "batches", "epochs", "parameters", "macs")
    values = [value for name, value in record.items() if name not in others]
    return sorted(round(value, 4 if abs(value) < 10 else 2) for value in values)


def test_scored_here(pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path) -> None:
    """That of the middle on validation, and those of the end, by whoever wrote them, on the test split too."""
    _, straight, master, kind = pair
    folder = downloaded(master, tmp_path)
    there = master.validations()[-1].metrics
    plain = fresh(["--score", str(folder), "--set", "hyperparameters.evaluate_test=false"], kind, tmp_path)
    assert plain.returncode == 0 and "\ntest" not in plain.stdout, plain.stderr
    assert numbers(plain.stdout, "valid") == rounded(there)
    second = master.resume()
    run_on(second, kind)
    end = [downloaded(second, tmp_path), straight.path / "checkpoints" / straight.read("run.json")["latest"]["uuid"]]
    for each in end:
        done = fresh(["--score", str(each)], kind, tmp_path)
        assert done.returncode == 0, done.stderr
        assert numbers(done.stdout, "valid") == rounded(straight.metrics("validation")[-1])
        assert numbers(done.stdout, "test") == rounded(straight.metrics("test")[0])
    assert not (tmp_path / "experiments").exists()


def test_a_warm_start_here_is_that_of_a_cluster(pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path) -> None:
    laptop, _, master, kind = pair
    changes = {"trial_id": 2, "latest_checkpoint": master.checkpoints[-1]["uuid"], "trial_seed": 77}
    there = replace(master, preempt_after=None, **changes)
    run_on(there, kind)
    folder = downloaded(master, tmp_path)
    mine = Laptop(tmp_path / "experiments", laptop.data, kind)
    options = HARD if kind is RECURRENT else PICTURED
    arguments = mine.arguments("reproducibility.experiment_seed=77", **options)
    done = fresh([*arguments, "--warm-start", str(folder)], kind, tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run(0, done.stdout, done.stderr, mine.newest())
    assert run.values("validation", "epochs") == list(range(1, options["train_epochs"] + 1))
    assert run.values("validation", "loss") == there.validation("loss")
    assert run.values("test", "test_loss") == there.values("test", "test_loss")
    assert run.read("run.json")["warm_start"]["from"] == str(folder)


def test_a_warm_start_that_is_killed_before_its_first_checkpoint(
    pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path
) -> None:
    """It begins with the weights once more, although the folder that they came from is gone."""
    source, _, master, kind = pair
    laptop = Laptop(tmp_path / "experiments", source.data, kind)
    folder = downloaded(master, tmp_path)
    arguments = [*laptop.arguments(**(HARD if kind is RECURRENT else PICTURED)), "--warm-start", str(folder)]
    whole = laptop.main(arguments)
    copy = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        newest = laptop.experiments / f"{whole.path.name[:-1]}2"
        after_step(patch, lambda _, index: None if index != 1 else shutil.copytree(newest, copy) and None)
        laptop.main(arguments)
    shutil.rmtree(folder)
    again = laptop.resume(copy)
    assert again.values("validation", "loss") == whole.values("validation", "loss")
    assert_same(state_of(again.checkpoint()), state_of(whole.checkpoint()))
    left = {path.name for path in (copy / "checkpoints").iterdir()}
    assert again.read("run.json")["warm_start"]["uuid"] not in left, "its own checkpoints take its place"


def test_two_processes(pair: tuple[Laptop, Run, StubMaster, Kind], tmp_path: Path) -> None:
    """They score together, and go on together, with what one process wrote there."""
    laptop, straight, master, kind = pair
    folder, mine = downloaded(master, tmp_path), Laptop(tmp_path / "experiments", laptop.data, kind)
    if kind is RECURRENT:  # its three columns cannot be shared
        process = torchrun(here(mine, "--resume", str(folder)), kind)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode != 0 and mine.left() == []
        assert "global_batch_size must be a multiple of the 2 processes, got 3" in err
        return
    outs = []
    for way in ("--score", "--resume"):
        two = Two(here(mine, way, str(folder)), kind)
        out, err = two.communicate(timeout=DEADLINE)
        assert two.returncode == 0, err
        outs.append(out)
    assert numbers(outs[0], "valid") == pytest.approx(rounded(master.validations()[-1].metrics), abs=2e-4)
    run = Run(0, outs[1], "", mine.newest())
    assert run.read("run.json")["status"] == "completed"  # with batch norms of half a batch, so with other numbers
    assert run.values("validation", "batches") == straight.values("validation", "batches")[2:]


@pytest.fixture(scope="module")
def middle(module_laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    master = master_of(module_laptop.data, tmp_path_factory.mktemp("storage"), **HARD)
    master.preempt_after = 1
    run_on(master)
    return master


def test_paths_of_this_machine(middle: StubMaster, laptop: Laptop, tmp_path: Path) -> None:
    """The text lies elsewhere, and must be the same."""
    folder = downloaded(middle, tmp_path)
    text = Path(shutil.copytree(laptop.data, tmp_path / "text"))
    run = laptop.main(here(laptop, "--resume", str(folder), "--set", f"data.data_dir={text}"))
    assert run.read("run.json")["status"] == "completed", run.err
    lines = (text / "train.txt").read_text().splitlines()
    (text / "train.txt").write_text("".join(" ".join(reversed(line.split())) + "\n" for line in lines))
    before = laptop.left()
    for way in ("--resume", "--score"):
        again = laptop.main(here(laptop, way, str(folder), "--set", f"data.data_dir={text}"))
        assert again.code == 2 and f"is of other data: train ({text / 'train.txt'})" in again.err
    assert laptop.left() == before, "a run that was refused leaves nothing"


def test_another_architecture_is_refused(middle: StubMaster, laptop: Laptop, tmp_path: Path) -> None:
    folder = downloaded(middle, tmp_path)
    resumed = laptop.main(here(laptop, "--resume", str(folder), "--set", "hyperparameters.node2_op=relu"))
    warm = laptop.main([*laptop.arguments(**{**HARD, "node2_op": "relu"}), "--warm-start", str(folder)])
    for run in (resumed, warm):
        assert run.code == 2 and "node2_op: tanh then, relu now" in run.err
    assert laptop.left() == []


def test_a_warm_start_on_other_data(middle: StubMaster, laptop: Laptop, tmp_path: Path, caplog: Any) -> None:
    """Fine-tuning: the same words in other sentences."""
    other = Path(shutil.copytree(laptop.data, tmp_path / "text"))
    lines = (other / "train.txt").read_text().splitlines(keepends=True)
    (other / "train.txt").write_text("".join([*lines[:30], *reversed(lines[30:])]))
    arguments = Laptop(laptop.experiments, other).arguments(**{**HARD, "train_epochs": 1})
    run = laptop.main([*arguments, "--warm-start", str(downloaded(middle, tmp_path))])
    assert run.read("run.json")["status"] == "completed"
    assert any("trained with other data or versions: data train" in message for message in caplog.messages)


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("file", ["trial_state.pkl", "state_dict.pth"])
@pytest.mark.parametrize("way", ["--resume", "--score", "--warm-start"])
def test_nothing_of_a_checkpoint_is_executed(
    middle: StubMaster, laptop: Laptop, tmp_path: Path, file: str, way: str
) -> None:
    folder, mark = downloaded(middle, tmp_path), tmp_path / "mark"
    (folder / "digests.json").unlink()  # whoever wrote the rest could have written it anew
    if file == "trial_state.pkl":
        (folder / file).write_bytes(pickle.dumps({"batches_trained": 1, "epochs_trained": 0, "x": Malice(mark)}))
    else:
        state = torch.load(folder / file, weights_only=True)
        torch.save({**state, "x": Malice(mark)}, folder / file)
    config = laptop.arguments(**HARD) if way == "--warm-start" else here(laptop)
    run = laptop.main([*config, way, str(folder)])
    assert run.code == 2 and not mark.exists() and "Traceback" not in run.err
    assert str(folder) in run.err


@pytest.mark.parametrize("missing", ["trial_state.pkl", "identity.json", "load_data.json"])
def test_what_is_no_checkpoint_of_ours(middle: StubMaster, laptop: Laptop, tmp_path: Path, missing: str) -> None:
    folder = downloaded(middle, tmp_path)
    (folder / missing).unlink()
    damaged = laptop.main(["--resume", str(folder)])
    assert damaged.code == 2 and f"checkpoint {folder} is damaged: {missing} is missing" in damaged.err
    (folder / "digests.json").unlink()
    run = laptop.main(["--resume", str(folder)])
    assert run.code == 2 and str(folder) in run.err and missing in run.err
    empty = laptop.main(["--score", str(tmp_path)])
    assert empty.code == 2 and "state_dict.pth is missing" in empty.err


def test_a_warm_start_says_what_for(middle: StubMaster, laptop: Laptop, tmp_path: Path) -> None:
    run = laptop.main(["--resume", str(tmp_path), "--warm-start", str(downloaded(middle, tmp_path))])
    assert run.code == 2 and "--warm-start gives weights to a new run; say with --config which" in run.err


def test_exported(middle: StubMaster, laptop: Laptop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a checkpoint, from a run of one trial; a constant that genotypes.py can hold."""
    run = laptop.train(
        train_epochs=1, **{name: value for name, value in HARD.items() if name.startswith(("arch", "node"))}
    )
    capsys.readouterr()
    for folder in (downloaded(middle, tmp_path), run.path):
        assert nas(["export", str(folder), "--name", "CELL_1"]) == 0
        comment, code = capsys.readouterr().out.split("\n", 1)
        assert str(folder) in comment and "randomNAS_files/genotypes.py" in comment
        scope: dict[str, Any] = {"Genotype": Genotype}
        exec(code, scope)
        assert scope["CELL_1"] == CELL


@pytest.mark.parametrize("arguments", [["--name", "mine"], []])
def test_what_cannot_be_exported(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(["export", str(tmp_path), *arguments]) == 2
    said = capsys.readouterr().err
    assert ("must be in capitals" if arguments else "not that of an experiment, a run or a checkpoint") in said
