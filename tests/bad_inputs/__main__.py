"""`python3 -m tests.bad_inputs [KIND]`."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from . import CASES, measure


def main(kinds: list[str]) -> int:
    """Print what is answered badly; returns the number of such cases, at most 100."""
    all_of, bad_of, seconds_of = Counter[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        os.environ.pop("NAS_DATA", None)
        for i, case in enumerate(CASES):
            if kinds and not any(case.kind.startswith(kind) for kind in kinds):
                continue
            (folder := Path(scratch, str(i))).mkdir()
            found, seconds = measure(case, folder)
            all_of[case.kind] += 1
            seconds_of[case.kind] += seconds
            bad_of[case.kind] += bool(found)
            for each in found:
                print(f"{case}\n    {each}")
    for kind in all_of:
        print(f"{kind:<32} {bad_of[kind]:>3} of {all_of[kind]:>3} answered badly  {seconds_of[kind]:6.2f} s")
    print(f"{'together':<32} {bad_of.total():>3} of {all_of.total():>3} answered badly  {seconds_of.total():6.2f} s")
    return min(bad_of.total(), 100)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
