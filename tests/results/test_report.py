"""Reports: all text escaped, nothing that leads elsewhere, honest about what there is not; in a browser where there is one."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import math
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.made_up import search, trial

from nas.cli.main import main
from nas.core.errors import ConfigError
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures.style import DARK, PAPER
from nas.results.report import markdown, tables, write_report
from nas.runs.run_folder import RunFolder

NAN = math.nan
HTML = '<script>alert(1)</script><img src=x onerror="alert(2)">& $x_1$ `a` | b'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def of(*trials: TrialResult, **changes: Any) -> ExperimentResult:
    return search(0, trials=list(trials), **changes)


def one(number: int = 0, **changes: Any) -> TrialResult:
    return trial(number, random.Random(number), **changes)


def strange() -> ExperimentResult:
    """Names with HTML in them, wherever a name can be."""
    changes: dict[str, Any] = {"architecture": HTML, "errors": [HTML], "chosen": {HTML: HTML}, "device": HTML}
    changes |= {"test": {HTML: 1.0}, "versions": {HTML: HTML}}
    trials = [one(i, outcome=("completed", "error")[i % 2], **changes) for i in range(4)]
    config = {"searcher": {"name": HTML}, "hyperparameters": {HTML: HTML}}
    return of(
        *trials, name=HTML, metric=f"{HTML}", time_metric="<i>steps</i>", sampler=HTML, config=config, status=HTML
    )


class Elements(html.parser.HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def written(experiment: ExperimentResult, folder: Path) -> tuple[str, str, str, Any]:
    """The page, the Markdown, the CSV, and the JSON as a strict reader takes it."""
    files = write_report(experiment, folder)
    page, text, rows, data = (path.read_text(encoding="utf-8") for path in files)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return page, text, rows, json.loads(data, parse_constant=refuse)


CASES = {
    "search": lambda: search(40),
    "strange": strange,
    "no trials": lambda: search(0, status="running"),
    "one": lambda: of(one(0, outcome="completed"), rungs=[]),
    "failed": lambda: of(
        *(one(i, outcome="error", validations=[], errors=["out of memory"], curves={}) for i in range(3))
    ),
    "not finite": lambda: of(one(0, validations=[(1.0, NAN), (2.0, math.inf)]), one(1, validations=[(1.0, 1e10)])),
    "no genotype": lambda: of(
        one(0, genotype=None, space=None), one(1, genotype={"recurrent": HTML}), one(2, space="x")
    ),
}


@pytest.fixture(scope="module", params=[*CASES])
def report(request: Any, tmp_path_factory: Any) -> tuple[ExperimentResult, Path]:
    experiment = CASES[request.param]()
    folder = tmp_path_factory.mktemp("report")
    write_report(experiment, folder)
    return experiment, folder


# What every report is


def test_a_page_has_no_script_and_leads_nowhere(report: tuple[ExperimentResult, Path]) -> None:
    found = Elements((report[1] / "report.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_json_is_strict_and_reads_back_as_the_same(report: tuple[ExperimentResult, Path]) -> None:
    experiment, folder = report
    data = json.loads((folder / "experiment.json").read_text(encoding="utf-8"), parse_constant=lambda name: 1 / 0)
    assert repr(ExperimentResult.from_json(data)) == repr(experiment)


def test_csv_has_a_line_for_each_trial(report: tuple[ExperimentResult, Path]) -> None:
    experiment, folder = report
    lines = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text(encoding="utf-8"))))
    assert sorted(int(line["trial"]) for line in lines) == [each.number for each in experiment.trials]
    ranks = [int(line["rank"]) for line in lines if line["rank"]]
    assert ranks == [*range(1, len(ranks) + 1)]
    values = [float(line[f"best validation {experiment.metric}"]) for line in lines if line["rank"]]
    assert values == sorted(values)


def test_every_figure_of_the_markdown_is_beside_it(report: tuple[ExperimentResult, Path]) -> None:
    text = (report[1] / "report.md").read_text(encoding="utf-8")
    figures = re.findall(r"^!\[.*\]\((.*)\)$", text, flags=re.MULTILINE)
    assert all((report[1] / figure).is_file() for figure in figures)
    there = sorted(str(path.relative_to(report[1])) for path in (report[1] / "report").glob("*"))
    assert there == sorted(figures)
    assert not re.search(r"<(?!/)\w", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# What they say


def test_names_with_html_are_shown_as_they_are(tmp_path: Path) -> None:
    page, text, rows, data = written(strange(), tmp_path)
    assert Elements(page).text.count(HTML) >= 10
    assert text.startswith("# &lt;script>alert(1)&lt;/script>") and data["name"] == HTML
    assert next(csv.DictReader(io.StringIO(rows)))[f"hyperparameter {HTML}"] == HTML
    assert markdown.escaped("a|b *c*\n# d") == "a\\|b \\*c\\* \\# d"
    assert markdown.fenced("```").startswith("````\n")


def test_an_empty_search_says_so(tmp_path: Path) -> None:
    page, text, rows, _ = written(CASES["no trials"](), tmp_path)
    for said in (page, text):
        assert "There are no trials yet" in said and "is running, or was cut off" in said
        assert "Leaderboard" not in said and "Figures" not in said
    assert rows.startswith("rank,trial,") and rows.count("\n") == 1


def test_a_search_in_which_all_failed_says_why(tmp_path: Path) -> None:
    page, text, _, _ = written(CASES["failed"](), tmp_path)
    for said in (page, text):
        assert "all failed" in said and "trials 0, 1, 2: failed: out of memory" in said and "Summary" not in said


def test_what_is_not_finite_is_called_that(tmp_path: Path) -> None:
    page, _, _, data = written(CASES["not finite"](), tmp_path)
    assert "No trial has a validation whose perplexity is finite" in page and "1e10" not in page
    assert data["trials"][0]["validations"] == [[1.0, "NaN"], [2.0, "Infinity"]]
    best = one(0, validations=[(1.0, 50.0), (2.0, NAN)], test={"test_loss": NAN}, outcome="diverged")
    page, _, rows, _ = written(of(best), tmp_path)
    assert "loss not finite; read once" in page and "its metric was not finite at 2" in page
    line = next(csv.DictReader(io.StringIO(rows)))
    assert line["last validation perplexity"] == "nan" and line["best validation perplexity"] == "50.0"


def test_validation_and_test_are_told_apart(tmp_path: Path) -> None:
    unread, _, _, _ = written(of(one(0, outcome="completed")), tmp_path)
    assert "not read: no score here is of test data" in unread
    read, _, _, _ = written(of(one(0, outcome="completed", test={"test_perplexity": 61.25})), tmp_path)
    assert "perplexity 61.25; read once" in read and "not read" not in read


def test_a_genotype_that_nobody_reads_is_said_to_be_one(tmp_path: Path) -> None:
    page, _, _, _ = written(of(one(0, space="no_such_space")), tmp_path)
    assert "Its genotype cannot be read here" in page and "no_such_space" in page


def test_an_architecture_is_drawn_once_with_its_constant(tmp_path: Path) -> None:
    same = [one(0, outcome="completed"), one(0, outcome="completed")]
    object.__setattr__(same[1], "number", 1)
    page, _, _, _ = written(of(*same), tmp_path)
    assert page.count('<pre class="wrap">Genotype(') == 1 and not (tmp_path / "report" / "cell_2.svg").exists()


def test_rows_are_ranked_by_the_best_validation() -> None:
    trials = [
        one(0, validations=[(1.0, 9.0), (2.0, 8.0)]),
        one(1, validations=[]),
        one(2, validations=[(1.0, 7.0), (3.0, NAN)]),
    ]
    first, second, third = tables.rows(of(*trials))
    assert [(row.trial.number, row.place is None) for row in (first, second, third)] == [
        (2, False),
        (0, False),
        (1, True),
    ]
    places = [row.place for row in (first, second) if row.place]
    assert [(each.rank, each.best, each.best_time, each.time) for each in places] == [
        (1, 7.0, 1.0, 3.0),
        (2, 8.0, 2.0, 2.0),
    ]


def test_a_report_of_a_thousand_trials_is_small(tmp_path: Path) -> None:
    files = write_report(search(1000), tmp_path)
    assert sum(path.stat().st_size for path in files) < 20_000_000
    assert files[0].stat().st_size < 5_000_000


# Where it is written


def test_the_command_writes_into_the_folder_of_a_run_or_elsewhere(tmp_path: Path, capsys: Any) -> None:
    config = {"name": "a run", "searcher": {"name": "single", "metric": "loss"}, "hyperparameters": {"train_epochs": 2}}
    run = RunFolder.create(tmp_path, "run", config, {"hyperparameters": {"train_epochs": 2}, "status": "completed"})
    run.record("validation", 10, {"loss": 0.5, "epochs": 1, "batches": 10})
    assert main(["report", str(run.path)]) == 0
    out = capsys.readouterr().out
    names = ("report.html", "report.md", "trials.csv", "experiment.json")
    assert all(str(run.path / name) in out and (run.path / name).is_file() for name in names)
    assert main(["report", str(run.path), "--out", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "report" / "learning_curves.svg").is_file()


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to .*file.*choose another folder with --out"):
        write_report(of(one(0)), tmp_path / "file")
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_an_experiment_on_a_cluster_goes_to_a_folder_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(of(one(0), source="determined", folder="", reference="17"))
    assert (tmp_path / "report-17" / "report.html").is_file()


# In a browser

PROBE = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  parent.postMessage(JSON.stringify({
    scroll: document.documentElement.scrollWidth, inner: innerWidth,
    loaded: performance.getEntriesByType("resource").map(each => each.name).filter(name => !name.startsWith("data:")),
    paper: getComputedStyle(document.body).backgroundColor,
    figure: [...document.querySelectorAll("figure svg text")].map(each => getComputedStyle(each).fill),
    text: document.body.innerText.length }), "*"); });
</script></body>"""
FRAME = """<!DOCTYPE html><body><pre id="said"></pre><iframe src="probe.html" width="{width}" height="900" frameborder="0">
</iframe><script>onmessage = event => {{ document.getElementById("said").textContent = event.data; }};</script></body>"""


def browse(file: Path, *options: str) -> tuple[str, str]:
    """The page after its scripts, and what was logged."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    profile = f"--user-data-dir={file.parent / 'profile'}"
    done = subprocess.run(
        [*command, profile, "--window-size=1500,1000", "--virtual-time-budget=3000", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, done.stderr


def probed(folder: Path, width: int, *options: str) -> dict[str, Any]:
    """What a page says of itself in a window of that width. Only the copy may run a script, or load what the page names."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    copy = re.sub(r"<meta http-equiv=[^>]*>", "", page).replace("</body>", PROBE)
    (folder / "probe.html").write_text(copy, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    dom, _ = browse(folder / "frame.html", *options)
    said = Elements(dom).text.partition("{")[2].partition("}")[0]
    found: dict[str, Any] = json.loads(f"{{{said}}}")
    return found


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("case", ["search", "strange"])
def test_in_a_browser_the_page_fits_every_window_and_both_modes(case: str, tmp_path: Path) -> None:
    write_report(CASES[case](), tmp_path)
    for width in (400, 1400):
        found = probed(tmp_path, width)
        assert found["inner"] == width and found["scroll"] <= width and found["loaded"] == [] and found["text"] > 500
    assert found["paper"] == rgb(PAPER)
    dark = probed(tmp_path, 1400, "--blink-settings=preferredColorScheme=0")
    assert dark["paper"] == rgb(DARK[PAPER])
    assert len(dark["figure"]) == len(found["figure"]) > 20
    assert all(brightness(colour) < 150 for colour in found["figure"] if colour != rgb(PAPER))
    assert all(brightness(colour) > 150 for colour in dark["figure"] if colour != rgb(DARK[PAPER]))
    _, log = browse(tmp_path / "report.html")
    assert "CONSOLE" not in log


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
