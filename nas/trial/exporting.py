"""A checkpoint as files for use elsewhere, each compared with the trial's own evaluation before anybody is told of it.

network.json     search space, genotype and settings; what the network was trained with
weights.pt       the parameters of the plain network: `Space.network(...).load_state_dict`
network.pt2      the network as `torch.export` saves it: needs torch, and nothing of this project
network.onnx     where it is asked for
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas.config import load as configs
from nas.config.entrypoint import resolve
from nas.core.errors import ConfigError
from nas.core.files import write_atomically
from nas.core.portable import Portable
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.runs.writing import saving_weights
from nas.trial import local
from nas.trial.base import Trial
from nas.trial.checkpoints import Checkpoint, evaluated, settings_of
from nas.trial.inspection import load_trial
from nas.trial.progress import quiet_libraries

TOLERANCE = 1e-4
"""Of what an exported network gives: relative to the largest output. Other kernels add up in another order."""


def evaluate(
    path: Path, overrides: Sequence[str], split: str, device: str = "auto", program_folder: str | None = None
) -> tuple[Trial, dict[str, dict[str, Any]]]:
    """Score a checkpoint's weights on one split; see `checkpoints.evaluated`.

    Args:
        path: of the checkpoint's folder.
        overrides: of the config that it was trained with, such as `data.data_dir=elsewhere`.
        split: "valid" or "test"; the test split is read for "test" only.
        program_folder: of the trial's program, where that is known.
    """
    return _with_weights(path, overrides, split, device, program_folder)


def load(path: Path, overrides: Sequence[str], device: str = "auto", program_folder: str | None = None) -> Trial:
    """The trial with a checkpoint's weights and its data, of which nothing is scored; arguments as those of `evaluate`."""
    trial, _ = _with_weights(path, overrides, None, device, program_folder)
    return trial


def _with_weights(
    path: Path, overrides: Sequence[str], split: str | None, device: str, program_folder: str | None
) -> tuple[Trial, dict[str, dict[str, Any]]]:
    """The trial, and the scores of one split, or none."""
    quiet_libraries()
    checkpoint = Checkpoint.read(path)
    config, hparams, seed = settings_of(checkpoint, overrides, None)
    config = {**config, "hyperparameters": hparams | {"evaluate_test": split == "test"}}
    folder = Path(program_folder) if program_folder else None
    trial_class = load_trial(resolve(config.get("entrypoint"), None, folder))
    with importing_from(program_folder):
        length = configs.check(trial_class, config, config["hyperparameters"], 1)
        plan = local.TrialPlan(config, config["hyperparameters"], seed, length, quiet=True)
        where = local.choose_device(device)
        return evaluated(trial_class, checkpoint, plan, where, local.join(where), validate=split is not None)


@torch.no_grad()
def export_network(trial: Trial, out: Path, *, onnx: bool = False, about: Mapping[str, Any] | None = None) -> list[str]:
    """Write the network of a trial into a folder; returns what was written and how it compares, a line each.

    Args:
        onnx: write `network.onnx` too.
        about: what else `network.json` is to say.

    Raises:
        ConfigError: the trial trains no such network, a package is missing, or what was written does not give the outputs
            of the trial; that file is removed.
    """
    if onnx:
        _need_onnx()
    found, genotype = trial.portable(), trial.files()["genotype.json"]
    described = {"space": trial.space, "genotype": genotype, "settings": found.settings, "inputs": list(found.words)}
    text = json.dumps({**described, **found.about, **(about or {})}, indent=1) + "\n"
    write_atomically(out / "network.json", text.encode())
    with saving_weights(out):
        torch.save(found.network.state_dict(), out / "weights.pt")
    lines = [_checked("weights.pt", out, found, _rebuilt(out, found))]
    if hasattr(torch, "export"):
        torch.export.save(_program(found), out / "network.pt2")
        loaded = torch.export.load(out / "network.pt2").module()
        lines.append(_checked("network.pt2", out, found, _as_tuple(loaded(*found.inputs))))
    if onnx:
        _write_onnx(found, out / "network.onnx")
        lines.append(_checked("network.onnx", out, found, _run_onnx(found, out / "network.onnx")))
    return lines


def _rebuilt(out: Path, found: Portable) -> tuple[torch.Tensor, ...]:
    """What a network gives that was built and loaded as a reader of the files would do it."""
    told = json.loads((out / "network.json").read_text(encoding="utf-8"))
    space = load_space(told["space"])
    network = space.network(space.from_json(told["genotype"]), 1, **told["settings"]).eval()
    network.load_state_dict(torch.load(out / "weights.pt", weights_only=True))
    trained, module = found.network, found.module
    module.network = network
    try:
        return _as_tuple(module(*found.inputs))
    finally:
        module.network = trained


def _program(found: Portable) -> torch.export.ExportedProgram:
    """The module, for batches of any size."""
    batch = torch.export.Dim("batch", min=1, max=2**16)
    axes = [None if axis is None else {axis: batch} for axis in found.batch_axes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(found.module, found.inputs, dynamic_shapes=tuple(axes))


def _need_onnx() -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError([f"--onnx needs the package {package}; pip install -e .[onnx]"])


def _write_onnx(found: Portable, path: Path) -> None:
    names, results = found.names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = torch.onnx.export(
            _program(found), input_names=list(names), output_names=list(results), dynamo=True, verbose=False
        )
    assert exported is not None
    exported.save(str(path))


def _run_onnx(found: Portable, path: Path) -> tuple[torch.Tensor, ...]:
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator
    feed = {name: tensor.numpy() for name, tensor in zip(found.names[0], found.inputs, strict=True)}
    return tuple(torch.from_numpy(each) for each in evaluator(str(path)).run(None, feed))


def _checked(name: str, out: Path, found: Portable, outputs: tuple[torch.Tensor, ...]) -> str:
    largest = max(float(each.abs().max()) for each in found.outputs)
    off = max(float((one - other).abs().max()) for one, other in zip(outputs, found.outputs, strict=True))
    if not off <= TOLERANCE * max(largest, 1e-30):
        (out / name).unlink()
        raise ConfigError(
            [f"{name} is not written: its outputs differ from the checkpoint's by {off:.3g}, of up to {largest:.3g}"]
        )
    same = "to the bit" if off == 0 else f"within {off:.1e} of {largest:.3g}"
    return f"{out / name}: gives the outputs of the checkpoint {same}"


def _as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
