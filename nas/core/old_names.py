"""Hyperparameters and fields of `data` that earlier examples, and other programs, call otherwise."""

from __future__ import annotations

from collections.abc import Collection

RENAMED: dict[str, tuple[str, ...]] = {
    "arch": ("arch_to_use",),
    "batch_size": ("global_batch_size",),
    "clip": ("clip_gradients_l2_norm",),
    "constraint": ("constraints",),
    "data_download_dir": ("download_dir",),
    "drop_path": ("drop_path_prob",),
    "epochs": ("train_epochs",),
    "grad_clip": ("clip_gradients_l2_norm",),
    "lr": ("learning_rate",),
    "seq_len": ("bptt",),
    "wdecay": ("weight_decay",),
    "weight_decay": ("wdecay",),
}
"""And what they are called here: the first of them that the trial has."""

REMOVED = {
    "cutout": "cutout_length says it, 0 for none",
    "eval_same_arch": "a search over cells scores its own",
    "log_interval": "metrics are reported every 100 batches",
    "optimizer_switch_epoch": "nonmono says after how many validations weights are averaged",
    "out_file": "results go to the folder of the run",
    "records_per_epoch": "the data says it",
    "seed": "reproducibility.experiment_seed says it",
    "random_seed": "reproducibility.experiment_seed says it",
    "step_every_batch": "nothing chooses it any more",
    "step_every_epoch": "nothing chooses it any more",
    "unrolled": "nothing chooses it any more",
    "use_constraints": "constraints says which, and none where it is left out",
}
"""What no trial reads any more, and why."""


def new_name(name: str, known: Collection[str]) -> str | None:
    """What a name is called now, among the known ones."""
    return next((each for each in RENAMED.get(name, ()) if each in known), None)
