"""What a user may call an architecture, and the forms in which it is written: all read back as the same."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from support.results import cell

from nas.cli.main import main as nas
from nas.config.yaml_text import parse
from nas.core.errors import ConfigError
from nas.core.space import known_spaces, load_space
from nas.results.architecture import find
from nas.results.constant import add_constant, constant
from nas.runs.run_folder import RunFolder

PACKAGES = ("cnn_nas", "randomNAS_files")


def test_the_spaces_of_the_repository_are_known() -> None:
    assert known_spaces() == sorted(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("seed", range(4))
def test_every_form_reads_back_as_the_same(
    package: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = load_space(package)
    genotype = space.sample(seed)
    source = genotype.to_text()
    for form in ("text", "json", "hparams", "constant"):
        assert nas(["export", source, "--form", form, "--name", "FOUND_1"]) == 0
        out = capsys.readouterr().out
        if form == "hparams":
            assert space.read(parse(out)["hyperparameters"]) == genotype
        elif form == "constant":
            (tmp_path / "genotypes.py").write_text(f"from {package}.architecture import Genotype\n{out}")
            assert runpy.run_path(str(tmp_path / "genotypes.py"))["FOUND_1"] == genotype
        else:
            (tmp_path / "file").write_text(out)
            assert find(str(tmp_path / "file")).genotype == space.read(out) == genotype


def test_a_run_and_a_checkpoint_and_a_name(tmp_path: Path) -> None:
    config = {"searcher": {"name": "single", "metric": "loss"}, "hyperparameters": {"train_epochs": 1}}
    run = {"hyperparameters": {"train_epochs": 1}, "seed": 3, "metadata": {"space": "randomNAS_files"}}
    folder = RunFolder.create(tmp_path, "run", config, run)
    with pytest.raises(ConfigError, match="no trial with a result yet"):
        find(str(folder.path))
    folder.write_file("genotype.json", cell(1))
    found = find(str(folder.path))
    assert found.genotype == load_space("randomNAS_files").sample(1) and found.origin == str(folder.path)
    checkpoint = folder.checkpoints / "c"
    checkpoint.mkdir(parents=True)
    (checkpoint / "identity.json").write_text(json.dumps({"space": "randomNAS_files"}))
    with pytest.raises(ConfigError, match="holds no architecture"):
        find(str(checkpoint))
    (checkpoint / "genotype.json").write_text(json.dumps(cell(2)))
    assert find(str(checkpoint)).genotype == load_space("randomNAS_files").sample(2)
    assert find("ENAS").package == "randomNAS_files" and find("DARTS_V2", space="cnn_nas").package == "cnn_nas"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("DARTS_V2", "several spaces; say --space cnn_nas or --space randomNAS_files"),
        ("DARTS_V3", "is no folder, no file and no architecture"),
        ("Genotype(recurrent=[('rleu', 0)])", "relu"),
        ("{", "a bracket too many or too few"),
        ("/nowhere/at/all", "is no folder, no file and no architecture"),
    ],
)
def test_what_is_none_is_refused_with_what_is_near(source: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(source)
    assert words in "\n".join(caught.value.problems)


def test_a_constant_is_added_once_and_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    space = load_space("randomNAS_files")
    path = tmp_path / "genotypes.py"
    before = "from randomNAS_files.architecture import Genotype\n\nOTHER: int = 1  # mine\ndef TAKEN(): pass"
    path.write_text(before)
    add_constant(path, "MINE", space.sample(5), "From a\nfolder with a newline.")
    assert path.read_text().startswith(before + "\n")
    assert runpy.run_path(str(path))["MINE"] == space.sample(5)
    for name in ("MINE", "OTHER", "TAKEN", "Genotype".upper()):
        text = path.read_text()
        if name == "GENOTYPE":
            add_constant(path, name, space.sample(6), "From here.")
            continue
        with pytest.raises(ConfigError, match=f"has a {name} already"):
            add_constant(path, name, space.sample(6), "From here.")
        assert path.read_text() == text
    path.write_text("def (")
    with pytest.raises(ConfigError, match="cannot be read as Python"):
        add_constant(path, "NEW", space.sample(6), "From here.")
    assert path.read_text() == "def ("
    with pytest.raises(ConfigError, match="cannot be written"):
        add_constant(tmp_path / "missing.py", "NEW", space.sample(6), "From here.")


@pytest.mark.parametrize("name", ["mine", "1X", "A B", "", "Mine", "X;import os"])
def test_a_constant_has_a_name_in_capitals(name: str) -> None:
    with pytest.raises(ConfigError, match="--name must be in capitals"):
        constant(name, load_space("randomNAS_files").sample(0))


def test_a_folder_that_is_not_empty_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert nas(["export", "ENAS", "--out", str(tmp_path)]) == 2
    assert "not empty; choose another folder" in capsys.readouterr().err
    assert nas(["export", "ENAS", "--checkpoint"]) == nas(["export", "ENAS", "--onnx", "--out", "x"]) == 2
    assert nas(["export", "ENAS", "--checkpoint", "--out", str(tmp_path / "new")]) == 2
    assert "ENAS is an architecture without weights" in capsys.readouterr().err
    assert nas(["export", "ENAS", "--name", "a", "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    assert nas(["export", "ENAS", "--out", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["README.md", "genotype.json", "genotype.py"]
