"""Which architectures are the same once dead nodes are removed and the rest is numbered in one way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.experiment import UNREADABLE, ExperimentResult, TrialResult


def canonical_forms(experiment: ExperimentResult, trials: Sequence[TrialResult] | None = None) -> dict[int, Hashable]:
    """The canonical architecture of each trial by its number, with the space's name; equal ones compute the same.

    Trials without an architecture, or with one that their space cannot read, are left out: nothing is the same as theirs.
    """
    found: dict[int, Hashable] = {}
    with importing_from(experiment.program_folder):
        for trial in experiment.trials if trials is None else trials:
            if trial.space is None or trial.genotype is None:
                continue
            try:
                space = load_space(trial.space)
                found[trial.number] = (trial.space, space.canonical(space.from_json(trial.genotype)))
            except UNREADABLE:  # a file that somebody edited
                continue
    return found


def same_as(experiment: ExperimentResult, ranked: Sequence[TrialResult]) -> dict[int, int]:
    """For each trial whose architecture a better one has too, the number of the best of these.

    Args:
        experiment: to which the trials belong.
        ranked: trials, best first.
    """
    forms = canonical_forms(experiment, ranked)
    first: dict[Hashable, int] = {}
    found: dict[int, int] = {}
    for trial in ranked:
        form = forms.get(trial.number)
        if form is not None and first.setdefault(form, trial.number) != trial.number:
            found[trial.number] = first[form]
    return found
