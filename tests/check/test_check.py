"""`nas check`: configs that can run, configs that cannot, what a space holds, and what a training step keeps in memory."""

from __future__ import annotations

import dataclasses
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.runs import ROOT

from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize, count
from cnn_nas.space import SPACE
from cnn_nas.survey import survey_seeds
from cnn_nas.trial import ImageTrial
from cnn_nas.trial import Settings as ImageSettings
from model_def import RecurrentTrial
from nas.check import picture
from nas.cli import main
from nas.config import load as configs
from nas.config.entrypoint import LAUNCHER, resolve
from nas.config.search_space import trial_sampler
from nas.core import memory
from nas.core.errors import ConfigError
from nas.core.survey import wilson_interval
from nas.trial.inspection import read_experiment
from randomNAS_files.corpora import known_vocabulary

CONSTRAINED = ROOT / "constrained_adaptive.yaml"
IMAGE_YAMLS = sorted([*(ROOT / "cnn_nas").glob("*.yaml"), ROOT / "adaptive.yaml", CONSTRAINED])
TEXT_YAMLS = sorted(set(ROOT.glob("*.yaml")) - set(IMAGE_YAMLS))
SMALL = ("hyperparameters.layers=3", "hyperparameters.init_channels=4", "hyperparameters.global_batch_size=4")


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def sets(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


def problems(path: Path, *assignments: str, samples: int = 50) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_experiment(path, list(assignments), samples)
    return caught.value.problems


# What a cluster would do


@pytest.mark.parametrize(
    ("assignment", "noted"),
    [
        ("max_restarts=3", False),
        ("log_policies=[]", True),
        ("log_policies=[{name: mine, pattern: x, action: cancel_retries}]", True),
        ("log_policies=null", True),
        ("log_policies=[{name: mine, pattern: cannot work, action: cancel_retries}]", False),
    ],
)
def test_a_config_that_would_repeat_a_hopeless_run_is_noted(
    capsys: pytest.CaptureFixture[str], assignment: str, noted: bool
) -> None:
    code, out, _ = run(capsys, ROOT / "train_small.yaml", *sets(assignment))
    assert code == 0 and ("again max_restarts times" in out) == noted
    _, out, _ = run(capsys, ROOT / "train_small.yaml", *sets(assignment, "max_restarts=0"))
    assert "again max_restarts times" not in out


# What is shipped


@pytest.mark.parametrize("path", [*IMAGE_YAMLS, *TEXT_YAMLS], ids=lambda path: path.name)
def test_every_shipped_config_can_run(path: Path) -> None:
    experiment = read_experiment(path, [], 50)
    most = 15 if path.name == "arch_search.yaml" else 20  # that grid has no more
    assert len(experiment.points) == (most if experiment.searched else 1)
    assert isinstance(experiment.points[0], ImageSettings) == (path in IMAGE_YAMLS)
    assert (experiment.survey is not None) == (path in IMAGE_YAMLS and bool(experiment.searched))


def test_no_data_are_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr("cnn_nas.trial.load", pytest.fail)
    monkeypatch.setattr("model_def.load_corpus", pytest.fail)
    small = sets("hyperparameters.emsize=8", "hyperparameters.nhid=8", "hyperparameters.nhidlast=8")
    assert run(capsys, ROOT / "train_small.yaml", *small, "--output", tmp_path)[0] == 0
    assert run(capsys, ROOT / "cnn_nas" / "mnist.yaml", *sets(*SMALL), "--output", tmp_path)[0] == 0
    assert not list(tmp_path.iterdir())  # one architecture needs no picture


# What it says


def test_a_search_space_is_told_in_text_and_as_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = (*SMALL, "hyperparameters.constraints.parameters=[5.0e3, 1.5e4]")
    output = tmp_path / "new" / "folder"
    code, out, err = run(capsys, CONSTRAINED, *sets(*small), "--samples", 300, "--output", output, "--batch-memory")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if not line.startswith("picture")]  # whose path is long here
    assert len(lines) < 50 and max(map(len, lines)) < 125
    for words in (
        "% satisfy the constraints (95 % interval",
        "reduce: skip_connect",
        "rejects alone",
        "parameters, where satisfied",
        "MACs",
    ):
        assert words in out
    with Image.open(output / "check-constrained_adaptive.png") as image:
        image.load()
        assert image.format == "PNG" and image.width > 1000 and image.height > 400
        assert len(image.convert("RGB").getcolors(1_000_000) or ()) > 20


def test_a_named_architecture_is_told_with_its_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = ROOT / "cnn_nas" / "mnist.yaml"
    code, out, _ = run(capsys, path, *sets(*SMALL, "hyperparameters.arch_to_use=DARTS_V1"))
    counts = count(SPACE.by_name("DARTS_V1"), init_channels=4, layers=3, classes=10, input_size=(1, 28, 28))
    assert code == 0 and f"{counts.parameters:,} parameters" in out and f"{counts.macs:,} MACs" in out


def test_the_smallest_and_largest_of_each_searched_number_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    searched = {
        "learning_rate": "{type: log, base: 10, minval: -3, maxval: -1}",
        "weight_decay": "{type: double, minval: 1, maxval: 2}",
        "momentum": "{type: categorical, vals: [0.5, 0.75]}",
        "flip": "{type: categorical, vals: [false]}",
    }
    pairs = [f"hyperparameters.{name}={spec}" for name, spec in searched.items()]
    path = ROOT / "cnn_nas" / "digits.yaml"
    config = configs.override(configs.load(path), pairs)
    trials = trial_sampler(config, configs.experiment_seed(config))
    drawn = [trials.next_trial().hparams for _ in range(20)]
    code, out, _ = run(capsys, path, *sets(*pairs), "--samples", 20, "--output", tmp_path)
    assert code == 0
    for name in ("learning_rate", "weight_decay", "momentum"):
        values = [point[name] for point in drawn]
        assert f" {name}: {min(values):.6g} .. {max(values):.6g}\n" in out
    assert "flip: " not in out


def test_what_is_hardly_meant_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, odd = ROOT / "cnn_nas" / "digits.yaml", "hyperparameters.cutout_length={type: categorical, vals: [0, 6]}"
    code, out, _ = run(
        capsys, path, *sets(odd, "data.validation_fraction=0.003"), "--samples", 20, "--output", tmp_path
    )
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert code == 0 and any("cutout_length 6 leaves" in line and "of 20 points drawn)" in line for line in warnings)
    assert any("fewer than the 10 classes" in line and "points" not in line for line in warnings)
    assert "warning" not in run(capsys, path)[1]


def test_without_matplotlib_there_is_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = read_experiment(CONSTRAINED, [], 20).survey
    assert found and not picture.draw(found, "name", tmp_path / "x.png") and not list(tmp_path.iterdir())


def test_the_words_of_a_corpus_are_told_where_they_are_known(tmp_path: Path) -> None:
    base = ("data.corpus=text", f"data.data_dir={tmp_path}")
    known = {
        (): "10,000 words of Penn Treebank",
        ("data.corpus=pydoc",): "2,000 words, at most",
        (*base, "data.vocabulary_size=77"): "77 words, at most",
        base: "10,000 words assumed",
    }
    for assignments, says in known.items():
        data = read_experiment(ROOT / "train_small.yaml", list(assignments), 1).points[0].data
        words, how = known_vocabulary(data)
        assert f"{words:,} {how}".startswith(says)


def test_the_command_runs_without_a_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", "check", str(ROOT / "cnn_nas" / "mnist.yaml"), *sets(*SMALL)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("mnist.yaml can run")


# The space


def test_the_share_agrees_with_counting_by_hand() -> None:
    found = read_experiment(CONSTRAINED, [], 1500).survey
    assert found is not None
    generator, count_of = random.Random(3), 6000
    operations = ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
    hits = 0
    for _ in range(count_of):
        cells = {}
        for cell in ("normal", "reduce"):
            fixed = 2 if cell == "normal" else 0
            ops = ["sep_conv_3x3"] * fixed + [generator.choice(operations) for _ in range(8 - fixed)]
            cells[cell] = tuple((op, generator.randrange(2 + i // 2)) for i, op in enumerate(ops))
        normal = [op for op, _ in cells["normal"]]
        if not 1 <= normal.count("skip_connect") <= 2 or normal.count("sep_conv_3x3") < 3:
            continue
        if not 1 <= [op for op, _ in cells["reduce"]].count("skip_connect") <= 2:
            continue
        genotype = dataclasses.replace(SPACE.by_name("DARTS_V2"), **cells)
        size = count(genotype, init_channels=36, layers=20, classes=10, input_size=(3, 32, 32))
        hits += 2.5e6 <= size.parameters <= 4.5e6
    low, high = wilson_interval(round(found.share * 1500), 1500)
    by_hand = wilson_interval(hits, count_of)
    assert low < by_hand[1] and by_hand[0] < high


def test_the_interval_is_wilsons() -> None:
    assert wilson_interval(0, 100) == pytest.approx((0, 0.0370), abs=1e-4)  # R: prop.test(0, 100, correct = FALSE)
    assert wilson_interval(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(100, 100)[1] == 1


def test_an_empty_space_is_refused_with_what_empties_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    impossible = "hyperparameters.constraints.parameters=[1, 2]"
    code, out, err = run(capsys, CONSTRAINED, *sets(impossible), "--samples", 100, "--output", tmp_path)
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert err.startswith("error: hyperparameters.constraints") and "parameters 1..2 (samples have" in err
    edges = "hyperparameters.constraints={macs: [1, 2]}"
    (only,) = problems(ROOT / "adaptive.yaml", edges)
    assert "none of 50 points of the search space satisfies" in only and "macs" in only


def test_a_rare_architecture_is_no_empty_space() -> None:
    rules = Constraints.from_mapping({cell: {"sep_conv_3x3": [4, None]} for cell in ("normal", "reduce")})
    size = NetworkSize(4, 3, 10, (3, 32, 32))
    assert not survey_seeds(rules, size, 100, True).satisfies.any()  # a trial finds one, as it draws cell by cell


def test_points_that_break_the_constraints_are_a_share() -> None:
    half = "hyperparameters.constraints={normal: {skip_connect: [1, 8]}}"
    found = read_experiment(ROOT / "adaptive.yaml", [half], 2000).survey
    assert found and not found.redrawn
    low, high = wilson_interval(round(2000 * found.share), 2000)
    assert low - 0.02 < 1 - (6 / 7) ** 8 < high + 0.02  # seven operations, eight edges


def test_a_searched_size_is_part_of_the_space() -> None:
    searched = "hyperparameters.init_channels={type: categorical, vals: [4, 40]}"
    found = read_experiment(ROOT / "cnn_nas" / "mnist.yaml", [searched], 200).survey
    assert found is not None
    assert len(set(found.sizes["parameters"].tolist())) == 2 and found.share == 1


# What cannot run


@pytest.mark.parametrize(
    ("entrypoint", "module", "distributed"),
    [
        ("python3 model_def.py", "model_def", False),
        (f"{LAUNCHER} python3 model_def.py", "model_def", True),
        (f"{LAUNCHER} --trial-option -- python3 -u -m cnn_nas.trial --x", "cnn_nas.trial", True),
        ("env A=1 /usr/bin/python3.10 -X dev -W ignore ./cnn_nas/trial.py", "cnn_nas.trial", False),
        (["python3", "-m", "model_def"], "model_def", False),
    ],
)
def test_entrypoints_are_understood(entrypoint: Any, module: str, distributed: bool) -> None:
    found = resolve(entrypoint)
    trial = {"model_def": "model_def:RecurrentTrial", "cnn_nas.trial": "cnn_nas.trial:ImageTrial"}[module]
    assert (found.module, found.distributed, found.trial, found.folder) == (module, distributed, trial, ROOT)
    assert found.file is not None and found.file.is_file()


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        (None, "entrypoint is missing; for example"),
        (3, "entrypoint must be a command, got 3"),
        ("python3 'model_def.py", "is not a command"),
        ("model_def:RecurrentTrial", "entrypoint must run a trial, like"),
        (LAUNCHER, "entrypoint must run a trial, like"),
        ("python3 modeldef.py", "did you mean model_def.py"),
        ("python3 -m cnn_nas.trail", "did you mean cnn_nas/trial.py"),
    ],
)
def test_other_entrypoints_are_refused(entrypoint: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(entrypoint)
    assert says in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    wrong = ("hyperparameters.layers=x", "hyperparameters.foo=1", "searcher.metric=fun", "resources.slots_per_trial=-1")
    found = problems(CONSTRAINED, *wrong, "hyperparameters.constraints.macs=7")
    for name in ("hyperparameters.layers", ".foo is", "'fun'", "slots_per_trial", "constraints.macs"):
        assert sum(name in problem for problem in found) == 1, found
    found = problems(ROOT / "random.yaml", "hyperparameters.foo=1", "searcher.metric=top1_accuracy", "data.bar=1")
    assert len(found) == 3 and not any("points" in problem for problem in found)


@pytest.mark.parametrize(
    ("name", "assignment", "says"),
    [
        (
            "cnn_nas/digits.yaml",
            "hyperparameters.cutout_length=16",
            "cutout_length must be below 8, the longer side of",
        ),
        ("cnn_nas/digits.yaml", "hyperparameters.crop_padding=16", "crop_padding must be below 8, the shorter side of"),
        ("cnn_nas/digits.yaml", "hyperparameters.flip=true", "flip must be false, as a digit in the mirror"),
        ("cnn_nas/mnist.yaml", "hyperparameters.flip={type: categorical, vals: [true, false]}", "20 points drawn)"),
        ("cnn_nas/digits.yaml", "hyperparameters.global_batch_size=1295", "must be at most 1294, the number of images"),
        ("cnn_nas/digits.yaml", "data.validation_fraction=0.0001", "of 1,438 it leaves none to validate"),
        ("cnn_nas/kirigami.yaml", "hyperparameters.cutout_length=80", "cutout_length must be below 80"),
        ("cnn_nas/folder.yaml", "hyperparameters.cutout_length=32", "the images of 32 x 32 pixels, got 32"),
        ("train_one_arch.yaml", "hyperparameters.global_batch_size=1000000", "must be at most 929588, as train has no"),
        ("train_one_arch.yaml", "hyperparameters.eval_batch_size=80000", "must be at most 73759, as valid has no more"),
        ("train_one_arch.yaml", "hyperparameters.bptt=100000", "hyperparameters.bptt must be at most"),
        (
            "quickstart.yaml",
            "hyperparameters.eval_batch_size=20000",
            "as valid has no more words to predict, got 20000",
        ),
        ("random.yaml", "hyperparameters.alpha={type: log, base: 10, minval: 1e-4, maxval: 0.1}", "draw 1.0002 .. 1.2"),
        ("adaptive.yaml", "resources.slots_per_trial=5", "global_batch_size must be a multiple of the 5 processes"),
        ("adaptive.yaml", "searcher.metric=r2", "'r2' is not reported"),
        ("adaptive.yaml", "searcher.metric=top1_acc", "did you mean top1_accuracy"),
        ("adaptive.yaml", "searcher.metric=loss", "must be true for metric loss, of which less is better, got false"),
        ("adaptive.yaml", "searcher.smaller_is_better=true", "must be false for metric top1_accuracy, of which more"),
        ("adaptive.yaml", "searcher.smaller_is_better=null", "got nothing, which means true: the worst would win"),
        ("random.yaml", "searcher.smaller_is_better=false", "must be true for metric loss, of which less"),
        ("cnn_nas/kirigami.yaml", "searcher.metric=r2", "must be false for metric r2, of which more is better, got tr"),
        ("cnn_nas/const.yaml", "searcher.smaller_is_better=true", "must be false for metric top1_accuracy"),
        ("cnn_nas/const.yaml", "searcher.metric=top1", "'top1' is not reported by this trial; known: loss"),
        ("adaptive.yaml", "searcher.max_time=null", "searcher.max_time must be a whole number"),
        ("adaptive.yaml", "data.validation_fraction=0", "searcher adaptive_asha compares validations"),
        ("adaptive.yaml", "hyperparameters.reduce_node4_edge2=9", "reduce_node4_edge2 must be 0..4, got 9"),
        ("cnn_nas/multi_gpu.yaml", "entrypoint=python3 -m cnn_nas.trial", "the entrypoint starts one process"),
        ("random.yaml", "hyperparameters.depth={type: categorical, vals: [1, 0]}", "of 20 points drawn)"),
        ("random.yaml", "hyperparameters.arch_seed={type: int, minval: 0}", "arch_seed.maxval is missing"),
    ],
)
def test_what_cannot_run_is_told(name: str, assignment: str, says: str) -> None:
    assert any(says in problem for problem in problems(ROOT / name, assignment)), says


@pytest.mark.parametrize("path", [*IMAGE_YAMLS, *TEXT_YAMLS], ids=lambda path: path.name)
def test_every_shipped_search_turned_round_is_refused(path: Path) -> None:
    """In both ways: the opposite direction, and none for a metric of which more is better."""
    smaller = configs.smaller_is_better(configs.load(path))
    for given in [str(not smaller).lower(), *([] if smaller else ["null"])]:
        found = problems(path, f"searcher.smaller_is_better={given}")
        assert [problem for problem in found if problem.startswith("searcher.smaller_is_better must be")], found


def test_arguments_that_make_no_sense(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(capsys, CONSTRAINED, "--samples", "0")
    assert "must be a whole number of at least 1, got '0'" in capsys.readouterr().err
    file = tmp_path / "file"
    file.touch()
    code, _, err = run(capsys, CONSTRAINED, "--samples", 20, "--output", file)
    assert code == 2 and err.startswith("error: ")
    assert run(capsys, tmp_path / "nothing.yaml")[0] == 2


# Memory


def image_settings(*assignments: str) -> Any:
    return read_experiment(ROOT / "cnn_nas" / "folder.yaml", list(assignments), 1).points[0]


@pytest.mark.parametrize("auxiliary", ["true", "false"])
@pytest.mark.parametrize("name", ["DARTS_V2", "PC_DARTS_CIFAR"])
def test_tensors_without_contents_are_as_many_as_real_ones(name: str, auxiliary: str) -> None:
    choice = (f"hyperparameters.arch_to_use={name}", f"hyperparameters.auxiliary={auxiliary}")
    settings = image_settings(*SMALL, *choice)
    assert ImageTrial.memory(settings, 1) == ImageTrial.memory(settings, 1, device="cpu")


def test_the_same_for_a_regression_and_a_recurrent_cell() -> None:
    settings = read_experiment(ROOT / "cnn_nas" / "kirigami.yaml", list(SMALL), 1).points[0]
    meta, real = (ImageTrial.memory(settings, 1, device=device) for device in ("meta", "cpu"))
    assert meta.activations == pytest.approx(real.activations, abs=64)  # torch's loss without contents keeps one number
    small = [f"hyperparameters.{name}" for name in ("emsize=8", "nhid=8", "nhidlast=8", "global_batch_size=4")]
    settings = read_experiment(ROOT / "train_small.yaml", small, 1).points[0]
    assert RecurrentTrial.memory(settings, 1) == RecurrentTrial.memory(settings, 1, device="cpu")


def test_memory_grows_with_the_batch_and_shrinks_with_processes() -> None:
    batches = [
        ImageTrial.memory(image_settings(*SMALL[:2], f"hyperparameters.global_batch_size={n}"), 1) for n in (8, 16, 32)
    ]
    totals = [each.total for each in batches]
    assert totals == sorted(totals) and totals[2] > 3 * totals[0]
    assert len({(each.parameters, each.optimizer) for each in batches}) == 1
    assert ImageTrial.memory(image_settings(*SMALL[:2], "hyperparameters.global_batch_size=16"), 2) == batches[0]


def test_saved_memory_counts_once() -> None:
    x, weight = torch.ones(10, 10, requires_grad=True), torch.ones(10, 10, requires_grad=True)
    assert memory.saved_bytes(lambda: [(x * weight) * weight.t()], [weight]) == [
        400,
        400,
        400,
    ]  # x, their product, the result


def test_the_estimate_is_what_a_real_step_takes() -> None:
    """Peak memory of a process that trains; the allocator is told to give freed memory back, or it varies by a half."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads the peak as Linux counts it")
    settings = image_settings("hyperparameters.global_batch_size=32", "hyperparameters.layers=5")
    estimate = ImageTrial.memory(settings, 1).total
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "check")]
    code = f"import sys; sys.path[:0] = {paths!r}\nimport test_check\ntest_check.train()"
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert 0.5 < estimate / int(done.stdout) < 2, (estimate, done.stdout)


def train() -> None:
    """Two steps of the network above; prints by how many bytes the process grows at most, after what torch loads once."""
    from cnn_nas.model import Network

    settings = image_settings("hyperparameters.global_batch_size=32", "hyperparameters.layers=5")

    def steps(images: int) -> None:
        net = Network(settings.model, settings.genotype, 10, 3, (32, 32), torch.Generator())
        sgd = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
        for _ in range(2):
            output = net(torch.zeros(images, 3, 32, 32))
            sgd.zero_grad()
            sum(logits.square().sum() for logits in output).backward()
            sgd.step()

    steps(2)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    steps(32)
    # not ru_maxrss: through fork and exec that keeps the peak of the process that runs the tests
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) * 1024 - before)
