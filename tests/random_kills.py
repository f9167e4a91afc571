"""Kills at random moments, of whatever works on a search: it must end as one that nobody disturbed.

    python3 tests/random_kills.py [--kills 50] [--slots 2] [--seed 1]

A search of small networks by adaptive ASHA, one trial at a time, is killed and gone on with until so many kills are done, then
run to its end. Killed are the engine, one process below it (a trial, its launcher, a rank, the server from which trials are
forked, the check of the config), everything at once, or it is stopped by Ctrl-C or SIGTERM. Afterwards the record of the
study and the validations of each trial must equal those of a search that was left alone, nobody may be left running, and
nothing that was printed may hold a traceback. It takes minutes; the suite has a part of it (tests/engine/test_run.py).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.nas_run import curves, record  # noqa: E402
from support.runs import TINY  # noqa: E402

from nas.config import load as configs  # noqa: E402

WAYS = ("engine", "everything", "one", "one", "ctrl-c", "sigterm")
LONGEST = 5.0
"""Seconds between two kills, at most."""
STOPPED = (130, -signal.SIGKILL, -signal.SIGTERM)
PATIENCE = 3600.0
"""Seconds that anything may take."""


def main() -> int:
    """Print what was done, and whether the searches are equal; returns 0 if they are."""
    parser = argparse.ArgumentParser(description="A search that is killed at random moments.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--slots", type=int, default=1, help="processes of a trial")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nas-kills-") as scratch:
        return disturb(Path(scratch), arguments.kills, arguments.slots, random.Random(arguments.seed))


def disturb(place: Path, kills: int, slots: int, choose: random.Random) -> int:
    """Run a search undisturbed and one that is killed so often; returns 0 if they are equal and nothing else is wrong."""
    command = prepared(place, slots, kills)
    began = time.monotonic()
    if start(command, place, "straight").wait(PATIENCE) != 0:
        print((place / "straight.txt").read_text())
        return 1
    print(f"undisturbed: {time.monotonic() - began:.0f} s")
    done, codes = Counter[str](), Counter[int]()
    left: list[psutil.Process] = []
    while True:
        engine = start(command, place, "killed")
        while done.total() < kills and not ends_within(engine, choose.uniform(0.3, LONGEST)):
            below = psutil.Process(engine.pid).children(recursive=True)
            way = choose.choice(WAYS)
            done[way] += 1
            strike(way, engine, below, choose)
            if way != "one":
                left += below
                break
        codes[code := engine.wait(PATIENCE)] += 1
        if code not in STOPPED and not (code == 2 and asks_again(place / "killed.txt")):
            break
    _, alive = psutil.wait_procs(left, timeout=30)
    printed = (place / "killed.txt").read_text()
    straight, killed = (place / name / "kills-1" for name in ("straight", "killed"))
    checks = {
        "exit status 0 in the end": code == 0,
        "the same record": code == 0 and record(killed) == record(straight),
        "the same validations": code == 0 and curves(killed) == curves(straight),
        "nobody is left": not alive,
        "no traceback": "Traceback" not in printed,
        "one folder": [path.name for path in killed.parent.iterdir()] == ["kills-1"],
    }
    print(f"{done.total()} kills, {slots} process(es) a trial: {dict(done)}; exit statuses {dict(codes)}")
    for what, good in checks.items():
        print(f"{'yes' if good else 'NO':<4} {what}")
    if not all(checks.values()):
        print(printed[-3000:])
    return 0 if all(checks.values()) else 1


def prepared(place: Path, slots: int, kills: int) -> list[str]:
    """Write a text and a config of a search that lasts long enough; returns the command that searches."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    choose = random.Random(0)
    (place / "text").mkdir()
    for split, lines in (("train", 60), ("valid", 12), ("test", 10)):
        text = [" ".join(f"w{(7 * i + 3 * j + choose.randrange(3)) % 40}" for j in range(9)) for i in range(lines)]
        (place / "text" / f"{split}.txt").write_text("\n".join(text) + "\n")
    config = configs.load(ROOT / "quickstart.yaml")
    config["hyperparameters"] |= {name: value for name, value in TINY.items() if name != "train_epochs"}
    search = {
        "name": "adaptive_asha",
        "metric": "loss",
        "time_metric": "epochs",
        "max_time": 8,
        "max_trials": 2 * kills + 4,
    }
    config |= {
        "name": "kills",
        "max_restarts": 100,
        "resources": {"slots_per_trial": slots},
        "searcher": {**search, "divisor": 2},
        "data": {"corpus": "text", "data_dir": str(place / "text")},
    }
    (place / "kills.yaml").write_text(json.dumps(config))  # JSON is YAML
    return [sys.executable, "-m", "nas", "run", str(place / "kills.yaml"), "--device", "cpu", "--workers", "1"]


def start(command: list[str], place: Path, name: str) -> subprocess.Popen[bytes]:
    """The command, whose experiments and output have that name."""
    with (place / f"{name}.txt").open("ab") as output:
        arguments = [*command, "--threads", "1", "--experiments", name]
        return subprocess.Popen(arguments, cwd=place, stdout=output, stderr=output, start_new_session=True)


def ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends in that time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def asks_again(output: Path) -> bool:
    """Whether what was killed is the check of the config, before the search began."""
    return output.read_text().endswith("was killed by SIGKILL (out of memory?); run it again\n")


def strike(way: str, engine: subprocess.Popen[bytes], below: list[psutil.Process], choose: random.Random) -> None:
    """Kill or stop as `way` says; whoever has ended meanwhile needs no killing."""
    victims = {"engine": [], "everything": below, "one": [choose.choice(below)] if below else []}.get(way, [])
    for each in victims:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    if way in ("engine", "everything"):
        engine.kill()
    elif way in ("ctrl-c", "sigterm"):
        engine.send_signal(signal.SIGINT if way == "ctrl-c" else signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
