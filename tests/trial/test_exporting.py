"""A trained network written for use elsewhere, and what a checkpoint scores: compared with numbers of the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import HARD, Laptop, Run

from nas.cli.main import main as nas
from nas.core.space import load_space
from nas.trial import exporting


@pytest.fixture(scope="module")
def averaged(module_laptop: Laptop) -> Run:
    """Its weights are averages, of which the last validation and the test were made."""
    return module_laptop.train(**HARD)


@pytest.fixture(scope="module")
def pictured(module_darkroom: Laptop) -> Run:
    return module_darkroom.train(learning_rate=0.1, evaluate_test=True, auxiliary=True, auxiliary_weight=0.4, layers=6)


def exported(run: Run, out: Path, *more: str) -> int:
    return nas(["export", str(run.path), "--out", str(out), "--checkpoint", *more])


def rebuilt(out: Path) -> tuple[dict[str, Any], torch.nn.Module]:
    """As the model card says."""
    about = json.loads((out / "network.json").read_text())
    space = load_space(about["space"])
    network = space.network(space.from_json(about["genotype"]), 0, **about["settings"])
    network.load_state_dict(torch.load(out / "weights.pt"))
    return about, network.eval()


@torch.no_grad()
def test_the_words_of_an_exported_language_model_have_the_perplexity_of_the_run(
    averaged: Run, corpus: Path, tmp_path: Path
) -> None:
    """Word by word over the whole text, by a loop of its own: the vocabulary, the weights and the state are right."""
    assert exported(averaged, tmp_path / "out") == 0
    about, network = rebuilt(tmp_path / "out")
    number = {word: i for i, word in enumerate(about["vocabulary"])}
    lines = (corpus / "valid.txt").read_text().splitlines()
    tokens = torch.tensor([number[word] for line in lines for word in [*line.split(), "<eos>"]])
    columns = averaged.read("run.json")["hyperparameters"]["eval_batch_size"]
    streams = tokens[: len(tokens) // columns * columns].view(columns, -1)  # as the trial reads them, but for the rest
    step = torch.export.load(tmp_path / "out" / "network.pt2").module()
    sums = []
    for predict in (lambda words, state: step(words, state), None):
        state = torch.zeros(2, columns, 8)
        hidden, total = list(state.unbind(0)), 0.0
        for k in range(streams.size(1) - 1):
            if predict is None:
                output = network(streams[None, :, k], hidden)
                logits, hidden = output.logits[0], output.hidden
            else:
                logits, state = predict(streams[:, k], state)
            total += float(torch.nn.functional.cross_entropy(logits, streams[:, k + 1], reduction="sum"))
        sums.append(total / (columns * (streams.size(1) - 1)))
    best = averaged.read("run.json")["best"]["value"]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert sums[0] == pytest.approx(best, rel=0.02)  # some words at the end of a column are left out here
    raw = averaged.checkpoint("best")["models_state_dict"][0]
    assert not all(torch.equal(raw[name], value) for name, value in network.state_dict().items()), "not averaged"


@torch.no_grad()
def test_pixels_alone_give_the_accuracy_of_the_run(pictured: Run, pictures: Path, tmp_path: Path) -> None:
    """The test images, read by Pillow and handed over as they are; in batches of another size than the example's."""
    from PIL import Image

    assert exported(pictured, tmp_path / "out") == 0
    classify = torch.export.load(tmp_path / "out" / "network.pt2").module()
    about, network = rebuilt(tmp_path / "out")
    right = count = 0
    for label, folder in enumerate(sorted((pictures / "test").iterdir())):
        import numpy as np

        images = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in sorted(folder.iterdir())])
        pixels = images.permute(0, 3, 1, 2).contiguous()
        logits = classify(pixels)
        mean, std = (torch.tensor(about[name]).view(-1, 1, 1) for name in ("mean", "std"))
        assert torch.allclose(logits, network((pixels / 255 - mean) / std).logits, atol=1e-4)
        right, count = right + int((logits.argmax(1) == label).sum()), count + len(images)
    best = pictured.read("run.json")["best"], pictured.read("run.json")["latest"]
    if best[0]["uuid"] == best[1]["uuid"]:
        assert right / count == pytest.approx(pictured.metrics("test")[0]["test_top1_accuracy"])
    uuid = best[0]["uuid"]
    scored = nas(["evaluate", str(pictured.path / "checkpoints" / uuid), "--split", "test"])
    told = json.loads((pictured.path / "evaluations.jsonl").read_text().splitlines()[-1])
    assert scored == 0 and told["scores"]["test_top1_accuracy"] == pytest.approx(right / count)


def test_evaluation_repeats_the_run_and_counts_what_reads_the_test_split(
    averaged: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(["evaluate", str(averaged.path)]) == 0
    assert "note" not in capsys.readouterr().out
    entry = json.loads((averaged.path / "evaluations.jsonl").read_text())
    assert entry["split"] == "valid" and entry["scores"]["loss"] == averaged.read("run.json")["best"]["value"]
    for times in ("once", "2 times"):  # the run itself read it at its end
        assert nas(["evaluate", str(averaged.path), "--split", "test"]) == 0
        assert f"the test split was read {times} before" in capsys.readouterr().out


def test_a_network_whose_outputs_differ_is_not_left_behind(
    pictured: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "_rebuilt", lambda out, found: (found.outputs[0] + 1,))
    assert exported(pictured, tmp_path / "out") == 2
    assert "weights.pt is not written: its outputs differ" in capsys.readouterr().err
    assert not (tmp_path / "out" / "weights.pt").exists()


def test_onnx_says_what_it_needs(
    pictured: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    assert exported(pictured, tmp_path / "out", "--onnx") == 2
    assert "--onnx needs the package onnx; pip install -e .[onnx]" in capsys.readouterr().err


def test_onnx_gives_the_same(pictured: Run, averaged: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    for run in (pictured, averaged):
        out = tmp_path / run.path.name
        assert exported(run, out, "--onnx") == 0
        assert f"{out / 'network.onnx'}: gives the outputs of the checkpoint within" in capsys.readouterr().out
