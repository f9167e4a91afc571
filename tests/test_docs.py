"""What the documentation names is there: links, files, modules, YAMLs, and commands that the real parsers take."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from support.runs import ROOT

from nas.cli.main import build_parser as nas_parser
from nas.trial.command import build_parser as trial_parser

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
YAMLS = {
    path.relative_to(ROOT).as_posix()
    for place in (ROOT, ROOT / "cnn_nas", ROOT / "one_shot")
    for path in place.glob("*.yaml")
}
MADE_BY_USERS = {
    "ablation.yaml",
    "my_experiment.yaml",
    "my_trial.py",
    "best.yaml",
    "retrain.yaml",
    "against_random.yaml",
    "config.yaml",
    "X.yaml",
    "CONFIG.yaml",
}
PACKAGES = "nas|cnn_nas|one_shot|randomNAS_files|benchmarks|tests|docs"
CODE = re.compile(r"^```.*?^```|^(?: {4}[^\n]*\n?)+|(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_of(page: Path) -> list[str]:
    """Code blocks and code in a line, without their marks."""
    found = (match.group() for match in CODE.finditer(text_of(page)))
    return [re.sub(r"^```.*$", "", code, flags=re.MULTILINE).strip("`") for code in found]


def prose_of(page: Path) -> str:
    return CODE.sub("", text_of(page))


def anchors_of(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(page: Path, program: str) -> list[list[str]]:
    """The arguments of each `program ...` in code, comments left out."""
    lines = (line.strip() for code in code_of(page) for line in code.splitlines())
    return [shlex.split(line.removeprefix(program), comments=True) for line in lines if line.startswith(f"{program} ")]


COMMANDS = [
    (page.name, words)
    for page in PAGES
    for words in commands_of(page, "nas")
    if len(words) > 1 or words[0].startswith("-")  # `nas check` alone is a name
]
TRIAL_COMMANDS = [
    (page.name, words)
    for page in PAGES
    for program in ("python3 model_def.py", "python3 -m cnn_nas.trial", "torchrun --nproc-per-node 2 model_def.py")
    for words in commands_of(page, program)
]


def test_something_was_found() -> None:
    assert len(PAGES) >= 13 and len(COMMANDS) > 20 and len(TRIAL_COMMANDS) > 5 and len(YAMLS) >= 16


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(\s*([^)\s]+)\s*\)", prose_of(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(file), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT).as_posix()})" in text_of(ROOT / "README.md"), page.name


def test_the_page_on_experiments_has_every_yaml() -> None:
    named = set(re.findall(r"^\| `([\w/]+\.yaml)`", text_of(ROOT / "docs" / "experiments.md"), re.MULTILINE))
    assert named == YAMLS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_yaml_that_is_named_is_there(page: Path) -> None:
    named = set(re.findall(r"[\w./-]*\w\.yaml", "\n".join(code_of(page))))
    assert not {name for name in named if name not in YAMLS and Path(name).name not in MADE_BY_USERS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    for code in code_of(page):
        for name in re.findall(rf"(?<![\w./])(?:{PACKAGES})/[\w./-]*", code):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_is_named_is_there(page: Path) -> None:
    for code in code_of(page):
        for name in re.findall(r"(?<![\w./])(?:nas|cnn_nas|one_shot|randomNAS_files|benchmarks)(?:\.\w+)+", code):
            if not name.endswith((".NAME", ".py")):
                assert found(name), f"{page.name}: {name}"


def found(name: str) -> bool:
    """Whether it is a module, or something in one."""
    module, rest = name, []
    while not spec(module):
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
        if not module:
            return False
    if not rest:
        return True
    place = importlib.import_module(module)
    for part in rest:
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True


def spec(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=str)
def test_nas_takes_the_command(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        nas_parser().parse_args(words)
    except SystemExit as end:
        assert words == ["--version"] and end.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(("page", "words"), TRIAL_COMMANDS, ids=str)
def test_a_trial_takes_the_command(page: str, words: list[str]) -> None:
    assert trial_parser().parse_args([word for word in words if word != "..."])


def test_the_readme_is_short() -> None:
    lines = text_of(ROOT / "README.md").splitlines()
    assert len(lines) <= 140
    assert not [line for line in lines if len(line) > 80 and not line.startswith("|")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_fit_a_terminal(page: Path) -> None:
    lines = prose_of(page).splitlines()
    machine_made = re.compile(r"\||\d+\. ")  # tables, and the list of runs below the one of the benchmarks
    assert not [line for line in lines if len(line) > 100 and not machine_made.match(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_names_a_machine(page: Path) -> None:
    host = r"index-url|/simple\b|pypi|artifactory|localhost|127\.0\.0\.1"
    path = r"(?<![\w.~/:])/(?:home|root|tmp|work|Users|mnt|opt|usr|var)/"
    assert not [line for line in text_of(page).splitlines() if re.search(f"{host}|{path}", line, re.IGNORECASE)]
