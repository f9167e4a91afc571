"""Bad options and paths of every command."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from nas.core.program import ROOT

from .acts import RNN, Act, after, nas, trial
from .case import Case

_RNN = str(ROOT / RNN)
_MODEL = "model_def:RecurrentTrial"

OPTIONS: list[tuple[tuple[str, ...], str]] = [
    ((), "COMMAND"),
    (("fly",), "invalid choice"),
    (("check",), "CONFIG"),
    (("check", "no_such.yaml"), "no_such.yaml cannot be read"),
    (("check", "{}"), "cannot be read"),
    (("check", "a" * 5000), "cannot be read"),
    (("check", "/dev/zero"), "/dev/zero"),
    (("check", "/dev/null"), "a device"),
    (("check", _RNN, "--samples", "0"), "--samples"),
    (("check", _RNN, "--samples", "x"), "--samples"),
    (("check", _RNN, "--samples", "10000000000"), "--samples"),
    (("check", _RNN, "--config", "emsize"), "an override must look like"),
    (("check", _RNN, "--config", "=3"), "an override must look like"),
    (("check", _RNN, "--config", "hyperparameters..x=3"), "an override must look like"),
    (("check", _RNN, "--config", "name.first=3"), "is not a section"),
    (("check", _RNN, "--config", "hyperparameters.emsize=[1"), "not valid YAML"),
    (("check", str(ROOT / "constrained_adaptive.yaml"), "--samples", "9", "--output", "/dev/null/x"), "/dev/null/x"),
    (("run",), "which experiment"),
    (("run", "no_such.yaml"), "no_such.yaml cannot be read"),
    (("run", _RNN, "--workers", "0"), "--workers"),
    (("run", _RNN, "--workers", "²"), "--workers"),
    (("run", _RNN, "--device", "tpu"), "--device"),
    (("run", _RNN, "--sampler", "magic"), "magic"),
    (("run", "--resume", "no_such"), "no_such"),
    (("run", "--retrain", "no_such"), "no_such"),
    (("run", "--best", "2"), "--retrain"),
    (("run", "--best", "-1"), "--best"),
    (("list", "no_such"), "no_such"),
    (("list", "/dev/null"), "/dev/null"),
    (("show",), "EXPERIMENT"),
    (("show", "no_such"), "no_such"),
    (("show", "{}"), "folder of a run"),
    (("show", "~nosuchuser/x"), "nosuchuser"),
    (("show", "{}", "--trial", "x"), "--trial"),
    (("show", "{}", "--trial", "-1"), "--trial"),
    (("show", "{}", "--top", "0"), "--top"),
    (("report", "no_such"), "no_such"),
    (("compare", "no_such", "nor_this"), "no_such"),
    (("compare", "{}"), "folder of a run"),
    (("compare", "A=no_such*"), "A=no_such*"),
    (("compare", "a", "b", "--budget", "x"), "--budget"),
    (("compare", "a", "b", "--budget", "nan"), "--budget"),
    (("compare", "a", "b", "--budget", "-1"), "--budget"),
    (("compare", "--groups", "no_such"), "no_such"),
    (("compare", "--groups", "{}"), "folder of a run"),
    (("compare", "a", "--groups", "--budget", "3"), "--budget does not go with --groups"),
    (("compare", "a", "b", "--searches", "c"), "--searches goes with --groups"),
    (("draw", ""), "no architecture"),
    (("draw", "no_such"), "no_such"),
    (("draw", "{}"), "is a folder, but not that of"),
    (("draw", "DARTS_V2"), "--space"),
    (("draw", "DARTS_V2", "--space", "cnn"), "search space 'cnn'"),
    (("draw", "DARTS_V2", "--space", "os.path"), "search space 'os.path'"),
    (("draw", "DARTS_V2", "--space", ""), "search space"),
    (("draw", "DARTS_V2", "--space", "..cnn_nas"), "search space"),
    (("draw", "ASHA", "--rank", "0"), "--rank"),
    (("draw", "ASHA", "--out", "x.pdf"), "--out must end in"),
    (("draw", "ASHA", "--out", "/dev/null/x.svg"), "/dev/null"),
    (("draw", "ASHA", "--out", "/proc/x.svg"), "/proc"),
    (("draw", "/dev/zero"), "/dev/zero"),
    (("draw", str(ROOT / "README.md")), "README.md"),
    (("export", "ASHAA"), "ASHA"),
    (("export", "ASHA", "--name", "mine"), "--name must be in capitals"),
    (("export", "ASHA", "--name", "A B"), "--name must be in capitals"),
    (("export", "ASHA", "--form", "xml"), "--form"),
    (("export", "ASHA", "--checkpoint"), "--out"),
    (("export", "ASHA", "--onnx"), "--out"),
    (("export", "ASHA", "--onnx", "--out", "x"), "--checkpoint"),
    (("export", "ASHA", "--out", str(ROOT)), "not empty"),
    (("export", "ASHA", "--out", "/dev/null/x"), "/dev/null"),
    (("export", "ASHA", "--checkpoint", "--out", "x"), "without weights"),
    (("evaluate", "no_such"), "no_such"),
    (("evaluate", "ASHA"), "without weights"),
    (("evaluate", "{}", "--split", "train"), "--split"),
    (("analyze", "no_such"), "no_such"),
    (("analyze", "ASHA"), "without weights"),
    (("analyze", "{}"), "is a folder, but not that of"),
    (("analyze", "{}", "--cells", "1"), "--cells must be 5..1000"),
    (("analyze", "{}", "--cells", "x"), "--cells"),
    (("analyze", "{}", "--batches", "0"), "--batches"),
    (("ablate",), "SOURCE"),
    (("ablate", "no_such"), "no_such"),
    (("ablate", "{}"), "is a folder, but not that of"),
    (("ablate", "ASHA"), "cell without weights"),
    (("ablate", "ASHA", "--nodes", "12"), "--nodes must be 1..8, the nodes of the cell, got 12"),
    (("ablate", "ASHA", "--nodes", "0"), "--nodes"),
    (("ablate", "ASHA", "--nodes", "x"), "--nodes"),
    (("ablate", "ASHA", "--nodes", "2", "--changes", "add"), "--changes add changes none of the --nodes"),
    (("ablate", "ASHA", "--changes", "fly"), "--changes"),
    (("ablate", "ASHA", "--seeds", "2"), "--retrain"),
    (("ablate", "ASHA", "--template", "x.yaml"), "--retrain"),
    (("ablate", "ASHA", "--retrain", "--seeds", "0"), "--seeds"),
    (("ablate", "ASHA", "--retrain", "--seeds", "1000000"), "--seeds must be 1.."),
    (("ablate", "ASHA", "--retrain", "--template", "no_such.yaml"), "no_such.yaml"),
    (("ablate", "ASHA", "--retrain", "--template", str(ROOT / "cnn_nas/digits.yaml")), "--template must train one"),
    (
        ("ablate", "ASHA", "--retrain", "--template", str(ROOT / "one_shot/digits_darts.yaml")),
        "--template must train one",
    ),
    (("ablate", "ASHA", "--retrain", "--out", "/dev/null/x"), "/dev/null"),
    (("ablate", "DARTS_V2", "--space", "cnn_nas"), "recurrent cells, not for convolutional cells"),
    (("ablate", "DARTS_V2"), "--space"),
    (("ablate", "ASHA", "--genotype", "ASHAA"), "ASHAA"),
]

TRIAL: list[tuple[tuple[str, ...], str]] = [
    ((), "--config"),
    (("--config", "no_such.yaml"), "no_such.yaml"),
    (("--config", _RNN, "--resume", "x"), "not allowed with"),
    (("--config", _RNN, "--seed", "x"), "--seed"),
    (("--config", _RNN, "--set", "hyperparameters.arch_to_use=ASHAA"), "ASHA"),
    (("--config", _RNN, "--set", "data.data_dir=~nosuchuser/x"), "nosuchuser"),
    (("--config", _RNN, "--set", "reproducibility.experiment_seed=-1"), "experiment_seed"),
    (("--resume", "no_such"), "no_such"),
    (("--score", "no_such"), "no_such"),
    (("--score", "{}"), "checkpoint"),
    (("--warm-start", "x", "--resume", "y"), "--config"),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for words, says in OPTIONS:
        yield Case("commands", " ".join(map(_shown, ("nas", *words))), nas(*words), (says,))
    for words, says in TRIAL:
        yield Case("trial's command line", " ".join(map(_shown, words)), trial(_MODEL, *words), (says,))
    for make, name in ((os.mkfifo, "a pipe"), (_socket, "a socket"), (_unreadable, "a link to itself")):
        for words in (
            ("check", "{}/odd"),
            ("run", "{}/odd"),
            ("draw", "{}/odd"),
            ("show", "{}/odd"),
            ("list", "{}/odd"),
        ):
            act: Act = after(lambda folder, make=make: make(folder / "odd"), nas(*words))  # type: ignore[misc]
            yield Case("odd files", f"nas {words[0]} of {name}", act, ("odd",))


def _shown(word: str) -> str:
    return repr(word) if "\0" in word or not word else word if len(word) < 90 else f"{word[:20]}... ({len(word)})"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # its address has room for 100 characters
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _unreadable(path: Path) -> None:
    path.symlink_to(path)
