"""What was found, for use elsewhere: printed in any form, or a folder with all that belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

from nas.config.yaml_text import dump
from nas.core.errors import ConfigError
from nas.core.files import write_atomically
from nas.results.architecture import Found
from nas.results.card import model_card
from nas.results.constant import constant
from nas.results.determined_source import download
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.retraining import once_more, retraining

FORMS = ("constant", "text", "json", "hparams", "dot")


def written(found: Found, form: str, name: str = "MINE") -> str:
    """The architecture in one of the forms.

    Raises:
        ConfigError: it cannot be written so, or no constant can be called so.
    """
    genotype = found.genotype
    if form == "constant":
        origin = " ".join(found.origin.split())
        return f"# From {origin}; for {found.package}/genotypes.py\n{constant(name, genotype)}"
    if form == "text":
        return str(genotype.to_text())
    if form == "json":
        return json.dumps(genotype.to_json(), indent=1)
    if form == "hparams":
        return dump({"hyperparameters": genotype.to_hparams()}).rstrip()
    return found.space.to_dot(genotype).rstrip()


def export_folder(found: Found, name: str, out: Path) -> list[str]:
    """Write the genotype, the constant, a config that retrains it, and a model card; returns the files.

    Raises:
        ConfigError: the folder holds something else already, or cannot be written.
    """
    files = {
        "genotype.json": written(found, "json") + "\n",
        "genotype.py": written(found, "constant", name) + "\n",
        "README.md": model_card(found, name),
    }
    if found.experiment is not None and found.trial is not None:
        config = again(found.experiment, found.trial) if found.config is None else found.config
        files.update({"retrain.yaml": dump(config)} if config else {})
    prepare(out)
    try:
        for file, text in files.items():
            write_atomically(out / file, text.encode())
    except OSError as error:
        raise ConfigError([f"--out {out} cannot be written: {error.strerror or error}"]) from error
    return [str(out / file) for file in files]


def again(experiment: ExperimentResult, trial: TrialResult) -> dict[str, object]:
    """The config that trains what a trial found, or the trial itself once more."""
    return retraining(experiment, trial) or once_more(experiment, trial)


def prepare(out: Path) -> None:
    """Make the folder. Raises ConfigError if it is there with anything in it, so that nothing is overwritten."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError([f"--out {out} is there already, and not empty; choose another folder"])
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"--out {out} cannot be made: {error.strerror or error}"]) from error


def checkpoint_of(found: Found) -> Path:
    """The folder of a trial's checkpoint; one on a cluster is fetched into `checkpoints/`. Raises ConfigError without one."""
    trial = found.trial
    if trial is None:
        path = Path(found.origin)
        if (path / "state_dict.pth").is_file():
            return path
        raise ConfigError(
            [f"{found.origin} is an architecture without weights; --checkpoint needs a run or a checkpoint"]
        )
    if found.experiment is not None and found.experiment.source == "determined":
        return download(found.experiment, trial, Path("checkpoints"))
    if not trial.folder or trial.checkpoint is None:
        raise ConfigError(
            [
                f"trial {trial.number} has left no checkpoint; of a search only the best ones stay, see"
                " checkpoint_storage, so train it once more first"
            ]
        )
    return Path(trial.folder, "checkpoints", trial.checkpoint)
