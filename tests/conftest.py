"""Fixtures of all tests: tiny data, and places where trials run."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import CLASSES, IMAGES, WORDS, Laptop

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of what tests start: several at once share the CPUs
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of them would compile all that it imports

# A shell lets what it runs in the background ignore Ctrl-C, and nohup a hang-up; what tests start would inherit that.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

ON_A_GPU = os.environ.get("NAS_TEST_GPU") == "1"
if not ON_A_GPU:  # numbers of old are a CPU's, and so is the suite, whatever machine it runs on
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` need one."""
    if not (ON_A_GPU and torch.cuda.is_available()):
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU: make test-gpu"))


@pytest.fixture(autouse=True)
def the_same_every_time() -> None:
    """Modules that a test builds without a generator of their own draw their weights from torch's."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches go to a folder of the tests, which know of no data of yours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("NAS_DATA", raising=False)


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Tensors are made in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of 41 words and 800 tokens, nearly predictable."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(0)
    for split, lines in (("train", 60), ("valid", 12), ("test", 10)):
        text = [[(7 * i + 3 * j + generator.randrange(3)) % WORDS for j in range(9)] for i in range(lines)]
        (folder / f"{split}.txt").write_text("".join(" ".join(f"w{k}" for k in line) + "\n" for line in text))
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 90 images to train on and 31 to test on; a class is known by where its square is, and by its colour."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.RandomState(0)
    for split, count in (("train", 15), ("test", 5)):
        for label in range(CLASSES):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count + (split == "test" and label == 0)):
                pixels = generator.randint(0, 100, (8, 8, 3), dtype=np.uint8)
                pixels[label : label + 3, label : label + 3, label % 3] += 120
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


@pytest.fixture
def laptop(tmp_path: Path, corpus: Path, caplog: pytest.LogCaptureFixture) -> Laptop:
    """Trials on this machine, with a folder of experiments of the test's own."""
    caplog.set_level(logging.INFO)
    return Laptop(tmp_path / "experiments", corpus)


@pytest.fixture
def darkroom(tmp_path: Path, pictures: Path, caplog: pytest.LogCaptureFixture) -> Laptop:
    """The same for image trials."""
    caplog.set_level(logging.INFO)
    return Laptop(tmp_path / "experiments", pictures, IMAGES)


@pytest.fixture(scope="module")
def of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `nothing_of_the_user` does, for fixtures of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("NAS_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def module_laptop(of_the_module: None, tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Laptop:
    """For runs that several tests of a module look at."""
    return Laptop(tmp_path_factory.mktemp("experiments"), corpus)


@pytest.fixture(scope="module")
def module_darkroom(of_the_module: None, tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Laptop:
    """The same for image trials."""
    return Laptop(tmp_path_factory.mktemp("experiments"), pictures, IMAGES)
