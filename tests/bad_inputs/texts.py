"""Configs that are no YAML, or one that nobody should read; and those of 2020 to 2022."""

from __future__ import annotations

from collections.abc import Iterator

from nas.core.program import ROOT

from .acts import RNN, check, check_text, edited, rnn_trial
from .case import Case

_RNN = (ROOT / RNN).read_text(encoding="utf-8")
_ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))

TEXTS: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "must be an experiment config"),
    ("a list", "[1, 2]", "must be an experiment config"),
    ("a word", "hello", "must be an experiment config"),
    ("two documents", f"{_RNN}\n---\nname: other\n", "must hold one document"),
    ("a tab", "name:\n\tx: 1\n", "not valid YAML"),
    ("an open bracket", "name: [1, 2\n", "not valid YAML"),
    ("an open quote", "name: 'x\n", "not valid YAML"),
    ("a NUL byte", _RNN.replace("train_small", "train\0small"), "not valid YAML"),
    ("a NUL in quotes, escaped", _RNN.replace("name: train_small", 'name: "a\\0b"'), "name"),
    ("a control character", "name: \x07\n", "not valid YAML"),
    ("not UTF-8", _RNN.encode().replace(b"small", b"sm\xe4ll"), "UTF-8"),
    ("UTF-16", _RNN.encode("utf-16"), "UTF-8"),
    ("random bytes", bytes(range(256)) * 4, "UTF-8"),
    ("nested 2,000 deep, lists", f"{_RNN}x: {'[' * 2000}{']' * 2000}\n", "nested less deeply"),
    ("nested 2,000 deep, maps", f"{_RNN}x: {'{a: ' * 2000}1{'}' * 2000}\n", "nested less deeply"),
    ("nested 300 deep", f"{_RNN}x: {'[' * 300}{']' * 300}\n", "nested less deeply"),
    ("cyclic", f"{_RNN}labels2: &a [*a]\n", "must not hold itself"),
    (
        "cyclic hyperparameters",
        _RNN.replace("hyperparameters:", "hyperparameters: &h\n  me: *h"),
        "must not hold itself",
    ),
    ("aliases that explode", f"{_RNN}\n{_ALIASES}", "alias"),
    (
        "aliases that explode below hyperparameters",
        _RNN.replace("data:", "".join(f"  {line}\n" for line in _ALIASES.splitlines()) + "data:"),
        "alias",
    ),
    ("an unknown anchor", f"{_RNN}x: *nowhere\n", "must name an anchor"),
    ("a Python tag", f"{_RNN}x: !!python/object/apply:os.system [ls]\n", "must have no tag"),
    ("the same key twice", f"{_RNN}name: other\n", "must be given once"),
    ("a null key", f"{_RNN}null: 1\n", "must have names that are text"),
    ("a list as key", f"{_RNN}? [a, b]\n: 1\n", "must have names that are text"),
    ("infinite", _RNN.replace("learning_rate: 20", "learning_rate: .inf"), "must be a finite number"),
    ("not a number", _RNN.replace("learning_rate: 20", "learning_rate: .nan"), "must be a finite number"),
    ("10^400", _RNN.replace("learning_rate: 20", f"learning_rate: 1{'0' * 400}"), "learning_rate"),
    ("5,000 digits", _RNN.replace("learning_rate: 20", f"learning_rate: {'9' * 5000}"), "learning_rate"),
    ("a merge of a number", f"{_RNN}x: {{<<: 3}}\n", "must have a section after <<"),
    ("a wrong %YAML", f"%YAML 1.2\n---\n{_RNN}", "must have no %YAML line"),
]

OLD_RNN = """\
description: my rnn search
entrypoint: model_def:NASModel
records_per_epoch: 27776
min_validation_period: {epochs: 1}
searcher: {name: random, metric: loss, smaller_is_better: true, max_trials: 3, max_length: {epochs: 5}}
hyperparameters: {arch_to_use: None, init_op: tanh, depth: 1, emsize: 64, nhid: 64, nhidlast: 64, dropout: 0.75,
  dropouth: 0.25, dropoutx: 0.75, dropouti: 0.2, dropoute: 0, batch_size: 64, eval_batch_size: 10, bptt: 35, seq_len: 35,
  max_seq_length_delta: 20, lr: 20, clip: .25, weight_decay: 8e-07, alpha: 0, beta: .001, nonmono: 5, log_interval: 50,
  seed: 3, unrolled: True}
data: {out_file: data/architecture_}
"""
OLD_CNN = """\
description: darts_cnn
entrypoint: model_def:DARTSCNNTrial
scheduling_unit: 100
searcher: {name: adaptive_asha, metric: top1_accuracy, smaller_is_better: false, max_trials: 10, max_length: {batches: 156200}}
data: {data_download_dir: /data}
hyperparameters: {constraint: {operations: [skip_connect]}, arch_seed: {type: int, minval: 0, maxval: 1000},
  learning_rate: 0.025, momentum: 0.9, weight_decay: 3e-4, train_epochs: 300, global_batch_size: 96, init_channels: 36,
  layers: 20, auxiliary: true, auxiliary_weight: 0.4, cutout: true, cutout_length: 16, drop_path_prob: 0.2,
  clip_gradients_l2_norm: 5}
"""

OLD = [
    (
        "a recurrent search of 2020",
        OLD_RNN,
        (
            "entrypoint",
            "max_length",
            "train_epochs: 5",
            "arch_to_use",
            "arch_seed",
            "lr",
            "learning_rate",
            "seed",
            "experiment_seed",
            "wdecay",
            "seq_len",
            "out_file",
        ),
    ),
    (
        "an image search of 2021",
        OLD_CNN,
        (
            "entrypoint",
            "max_length",
            "max_time",
            "constraint",
            "cutout",
            "crop_padding",
            "flip",
            "data_download_dir",
            "dataset",
            "eval_batch_size",
        ),
    ),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, text, says in TEXTS:
        yield Case("YAML", name, check_text(text), (says,))
    for name, text, wanted in OLD:
        yield Case("old YAML", name, check_text(text), wanted, sentences=40)
    yield Case("old YAML", "no silly suggestion", check(RNN, "hyperparameters.unrolled=true"), ("unrolled",))
    yield Case("old YAML", "max_steps", edited(RNN, "name: single", "name: single\n  max_steps: 434"), ("max_steps",))
    yield Case(
        "trial's command line", "arch_to_use: None", rnn_trial("hyperparameters.arch_to_use=None"), ("arch_seed",)
    )
