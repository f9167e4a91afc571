"""What every search space must do: subclass `SpaceSuite` in a test module, name the space and its settings, and it is tested.

class TestRecurrentSpace(SpaceSuite):
    space = SPACE
    settings = {"hidden": 8, "vocabulary": 20}
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.core.errors import ConfigError
from nas.core.space import Space, load_space
from support.runs import ROOT

SAMPLES = 200


def leaves(tree: dict[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What nested maps hold, in their order, with the keys that lead there."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


class SpaceSuite:
    """Tests of the contract `nas.core.space.Space`.

    Attributes:
        space: the space under test.
        settings: those of its `size` and `network`; small ones, for networks are built.
    """

    space: Space[Any]
    settings: dict[str, Any]

    def architectures(self, samples: int = SAMPLES) -> Iterator[Any]:
        """All named ones, then random ones."""
        yield from self.space.genotypes.values()
        yield from (self.space.sample(seed) for seed in range(samples))

    def test_it_is_found_by_its_package(self) -> None:
        assert load_space(self.space.package) is self.space
        assert self.space.title

    def test_every_form_of_an_architecture_reads_back_as_the_same(self) -> None:
        for genotype in self.architectures():
            data = json.loads(json.dumps(genotype.to_json()))
            assert self.space.from_json(data) == genotype
            assert self.space.from_text(genotype.to_text()) == genotype
            for form in (data, json.dumps(data), genotype.to_text(), f"  {genotype.to_text()}\n"):
                assert self.space.read(form) == genotype
            assert str(genotype) and "\n" not in str(genotype) + genotype.to_text()

    def test_texts_as_people_have_them_read_as_the_same(self) -> None:
        """A log's whole line, an assignment, a module's name, NumPy's and torch's integers, a dict, JSON over many lines."""
        for genotype in self.architectures(10):
            text, data = genotype.to_text(), genotype.to_json()
            positional = f"Genotype({', '.join(repr(value) for value in data.values())})"
            for form in (
                f"2018-05-21 04:01:16,217 INFO genotype = {text}",
                f"03/01 10:00:00 AM genotype = {text},",
                f"MINE = genotypes.{text};  ",
                text.replace("Genotype(", "Genotype2("),
                re.sub(r"\b(\d+)(?=[\],)])", r"np.int64(\1)", text),
                re.sub(r"\b(\d+)(?=[\],)])", r"tensor(\1, device='cuda:0')", text),
                text.replace(", ", ",\n  "),
                positional,
                repr(data),
                f"genotype: {data}",
                json.dumps(data, indent=2),
            ):
                assert self.space.read(form) == genotype, form

    def test_a_file_reads_as_what_it_holds_and_a_run_as_its_genotype(self, tmp_path: Path) -> None:
        genotype = next(self.architectures())
        (tmp_path / "genotype.json").write_text(json.dumps(genotype.to_json(), indent=1))
        (tmp_path / "log.txt").write_text(f"INFO genotype = {genotype.to_text()}\n")
        for path in (tmp_path, tmp_path / "genotype.json", tmp_path / "log.txt"):
            assert self.space.read(str(path)) == genotype
        (tmp_path / "bad.json").write_text("{")
        os.mkfifo(tmp_path / "pipe.json")
        for name, words in (
            ("no.json", "context folder"),
            ("bad.json", "bracket"),
            ("pipe.json", "a pipe"),
            ("", "context folder"),
        ):
            with pytest.raises(ConfigError, match=words) as caught:
                self.space.read(str(tmp_path / "deeper" / name) if not name else str(tmp_path / name))
            assert len(caught.value.problems) == 1

    def test_hyperparameters_read_back_as_the_same_or_are_refused(self) -> None:
        spelt_out = 0
        for genotype in self.architectures():
            try:
                hparams = genotype.to_hparams()
            except ConfigError:  # hyperparameters cannot describe every architecture
                continue
            spelt_out += 1
            others = {"some_rate": 0.1, "train_epochs": 3}
            assert self.space.from_hparams({**others, **hparams}) == genotype
            assert self.space.read(hparams) == self.space.read(json.dumps(hparams)) == genotype
        assert spelt_out >= SAMPLES  # all samples at least

    def test_each_name_reads_as_its_architecture(self) -> None:
        assert self.space.genotypes
        for name, genotype in self.space.genotypes.items():
            assert self.space.by_name(name) == self.space.read(name) == genotype

    def test_a_misspelt_name_is_refused_with_the_nearest(self) -> None:
        for name in self.space.genotypes:
            for wrong in (name + "x", name[:-1] + "#", f"{name[:1]}_{name[1:]}"):
                with pytest.raises(ConfigError) as caught:
                    self.space.read(wrong)
                (problem,) = caught.value.problems
                says, _, hint = problem.partition("did you mean")
                assert repr(wrong) in says and f"{self.space.package}/genotypes.py" in says and name in hint

    @pytest.mark.parametrize("text", ["", "zzzzzz", "{", "{}", '{"x": 1}', "Genotype()", "Other(x=1)", "(", "f(x)(y)"])
    def test_what_is_no_architecture_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError):
            self.space.read(text)

    def test_a_misspelt_field_is_refused_with_the_nearest(self) -> None:
        """It would mean its default, and train another architecture than the one that is written there."""
        for genotype in self.architectures():
            data, text = genotype.to_json(), genotype.to_text()
            for name in data:
                wrong = f"{name[:-2]}{name[-1]}{name[-2]}"
                for form in ({**data, wrong: data[name]}, _renamed(data, name, wrong), text.replace(name, wrong, 1)):
                    for source in [form] if isinstance(form, str) else [form, json.dumps(form)]:
                        with pytest.raises(ConfigError) as caught:
                            self.space.read(source)
                        told = [problem for problem in caught.value.problems if repr(wrong) in problem]
                        assert len(told) == 1 and name in told[0].partition("did you mean")[2], caught.value.problems

    def test_a_field_that_is_there_twice_is_refused(self) -> None:
        for genotype in self.architectures():
            for name, value in genotype.to_json().items():
                once = json.dumps(genotype.to_json())
                text = genotype.to_text().removesuffix(")")
                for source in (f"{once[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}", f"{text}, {name}={value!r})"):
                    with pytest.raises(ConfigError, match=f"must have {name} once, got it 2 times"):
                        self.space.read(source)

    def test_a_field_that_is_missing_is_named_or_has_a_default(self) -> None:
        for genotype in self.architectures():
            data = genotype.to_json()
            for name in data:
                rest = {other: value for other, value in data.items() if other != name}
                try:
                    self.space.from_json(rest)
                except ConfigError as error:
                    assert any(f"{name}, which is missing" in problem for problem in error.problems)
                else:
                    assert name.endswith("concat")  # all nodes

    def test_an_empty_list_is_no_default(self) -> None:
        for genotype in self.architectures():
            data = genotype.to_json()
            for name, value in data.items():
                assert isinstance(value, list)
                empty = {**data, name: []}
                for source in (empty, f"Genotype({', '.join(f'{key}={value!r}' for key, value in empty.items())})"):
                    with pytest.raises(ConfigError):
                        self.space.read(source)

    def test_the_same_seed_and_labels_draw_the_same_architecture(self) -> None:
        for seed in range(20):
            for labels in ((), ("search",), ("search", 3)):
                assert self.space.sample(seed, *labels) == self.space.sample(seed, *labels)
        drawn = {self.space.sample(seed, *labels) for seed in range(20) for labels in ((), ("search",), ("search", 3))}
        assert len(drawn) > 55  # others draw others

    def test_the_canonical_form_is_its_own_canonical_form(self) -> None:
        for genotype in self.architectures():
            canonical = self.space.canonical(genotype)
            assert type(canonical) is type(genotype)
            assert self.space.canonical(canonical) == canonical

    def test_drawings_are_plain_lines_that_fit_a_terminal(self) -> None:
        for genotype in self.architectures():
            lines = self.space.draw(genotype)
            assert lines and all(len(line) <= 100 and line.isprintable() and line == line.rstrip() for line in lines)

    def test_outlines_are_short_texts_in_the_order_of_their_names(self) -> None:
        outlines: dict[str, Any] = {}
        for genotype in self.architectures():
            outline = self.space.outline(genotype)
            for path, text in leaves(outline):
                assert type(text) is str and 0 < len(text) <= 100 and text.isprintable()
                assert all(0 < len(key) <= 50 and not set(key) & set("$.[]") for key in path)
            assert [path for path, _ in leaves(outline)] == sorted(path for path, _ in leaves(outline))
            assert outlines.setdefault(json.dumps(outline), genotype) == genotype

    def test_graphs_are_closed_and_tell_architectures_apart(self) -> None:
        graphs: dict[str, Any] = {}
        for genotype in self.architectures():
            graph = self.space.to_dot(genotype)
            assert graph.startswith("digraph") and graph.rstrip().endswith("}")
            assert graph.count("{") == graph.count("}") and graph.count("[") == graph.count("]")
            assert graphs.setdefault(graph, genotype) == genotype

    def test_the_size_is_that_of_the_network(self) -> None:
        for genotype in self.architectures(samples=10):
            size = self.space.size(genotype, **self.settings)
            network = self.space.network(genotype, 0, **self.settings)
            assert size.parameters == sum(
                parameter.numel() for parameter in network.parameters() if parameter.requires_grad
            )
            assert size.macs > 0

    def test_the_weights_come_from_the_seed_alone(self) -> None:
        import torch

        genotype = self.space.sample(0)
        torch.manual_seed(1)
        first = self.space.network(genotype, 3, **self.settings).state_dict()
        torch.manual_seed(2)
        again = self.space.network(genotype, 3, **self.settings).state_dict()
        other = self.space.network(genotype, 4, **self.settings).state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_all_but_the_network_does_without_torch(self) -> None:
        code = f"""
import sys
from {self.space.package}.space import SPACE
genotype = SPACE.sample(0)
SPACE.read(genotype.to_text()), SPACE.genotypes, SPACE.canonical(genotype)
SPACE.draw(genotype), SPACE.to_dot(genotype), SPACE.outline(genotype), SPACE.size(genotype, **{self.settings!r})
sys.exit("torch" in sys.modules)
"""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _renamed(data: dict[str, Any], name: str, wrong: str) -> dict[str, Any]:
    return {wrong if key == name else key: value for key, value in data.items()}
