"""Texts that are no genotype, or one of the other space, or a constant that is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from .acts import CNN, RNN, check, nas
from .case import Case

EDGES = "[('sep_conv_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 2)]"
CELLS = f"Genotype(normal={EDGES}, normal_concat=[2, 3], reduce={EDGES}, reduce_concat=[2, 3])"
NODES = "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=[1, 2])"

IN_RNN = [
    ("ASHAA", ("did you mean ASHA",)),
    ("zzzz", ("zzzz",)),
    ("", ("arch_to_use",)),
    ("NASNET", ("NASNET", "cnn_nas")),
    ("None", ("arch_seed",)),
    (CELLS, ("convolutional", "cnn_nas")),
    (NODES.replace("relu", "rleu"), ("node2_op", "relu")),
    (NODES.replace("1)]", "7)]"), ("node2_edge must be 0..1",)),
    (NODES.replace("concat=[1, 2]", "concat=[0, 1, 2]"), ("concat",)),
    (NODES.replace("concat", "conact"), ("did you mean concat",)),
    (NODES.removesuffix(")"), ("column",)),
    (NODES.replace("'tanh'", "'tanh"), ("column",)),
    (NODES.replace("'", "\u2019"), ("column",)),
    (NODES.replace("('relu', 1)", "relu()"), ("column",)),
    (NODES.replace("('relu', 1)", "('relu',)"), ("number 2",)),
    (NODES.replace("('relu', 1)", "5"), ("number 2",)),
    (NODES.replace("('relu', 1)", "('relu', 1.5)"), ("node2_edge",)),
    (NODES.replace("concat=[1, 2]", "concat=range(1, 10**9)"), ("column",)),
    (NODES.replace("concat=[1, 2]", "concat=range(1, 999999999)"), ("range",)),
    (NODES.replace("concat=[1, 2]", "concat=3"), ("concat",)),
    (NODES.replace("concat=[1, 2]", "concat=open('x')"), ("open",)),
    ("__import__('os').system('touch hacked')", ("__import__",)),
    (f"{NODES[:-1]}, concat=[1])", ("once",)),
    ("Genotype(recurrent=[])", ("at least one node",)),
    ("Genotype()", ("recurrent",)),
    ("[('tanh', 0), ('relu', 5)]", ("node2_edge",)),
    ("(" * 3000 + ")" * 3000, ("nested",)),
    (f"Genotype(recurrent={'[' * 300}{']' * 300})", ("arch_to_use",)),
    ("0 | 0 0 | 1 1", ("enas_lm", "identity")),
    ("enas 1 0 0", ("init_op: relu",)),
    ("enas_lm 0 2 1", ("even count",)),
    ("enas_lm 0 2 5 0", ("number 3", "0..1")),
    ("no/such/genotype.json", ("no/such/genotype.json",)),
    ("/dev/zero", ("/dev/zero",)),
    ("~nosuchuser/genotype.json", ("nosuchuser",)),
]
IN_CNN = [
    ("DARTS_V3", ("did you mean DARTS_V2",)),
    ("ENAS", ("ENAS", "randomNAS_files")),
    (NODES, ("recurrent", "randomNAS_files")),
    (CELLS.replace("skip_connect", "skip"), ("skip_connect",)),
    (CELLS.replace("normal_concat", "normal_conact"), ("did you mean normal_concat",)),
    (CELLS.replace("[2, 3]", "range(2, 7)"), ("normal_concat must name states 2..3",)),
    (CELLS.replace(", ('sep_conv_3x3', 2)]", "]"), ("two edges a node",)),
    (CELLS.replace("skip_connect", "noise"), ("noise",)),
    (f"Genotype(normal={EDGES}, normal_concat=[2, 3])", ("reduce",)),
    (CELLS.replace("'", '"').removesuffix(")"), ("column",)),
    ('{"normal": [["sep_conv_3x3", 0]]', ("column",)),
    ('{"normal": 3}', ("reduce",)),
    (f"{CELLS} {CELLS}", ("one genotype",)),
    ("enas_lm 0 2 1 0", ("recurrent", "randomNAS_files")),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for config, rows in ((RNN, IN_RNN), (CNN, IN_CNN)):
        for text, says in rows:
            quoted = "'" + text.replace("'", "''") + "'"
            act = check(config, f"hyperparameters.arch_to_use={quoted}")
            name = text if len(text) < 100 else f"{text[:60]}... ({len(text)})"
            yield Case("genotypes", f"{config}: {name}", act, says, sentences=3)
    for text, says in (IN_RNN[0], IN_RNN[6], IN_CNN[3], IN_CNN[5], IN_RNN[21]):
        yield Case("genotypes", f"nas draw {text[:80]}", nas("draw", text), says, sentences=4)
