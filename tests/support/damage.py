"""Files as a disk, a kill or a careless hand leaves them; and checkpoints to damage, made without torch."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

from nas.runs.checkpoint_files import write_digests


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": _cut,
    "flip": _flip,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "random": lambda path: path.write_bytes(bytes((7919 * i + 13) % 256 for i in range(3000))),
    "nul": lambda path: path.write_bytes(bytes(500)),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "list": lambda path: path.write_bytes(b"[1]"),
    "folder": _folder,
}


def write_checkpoint(path: Path, batches: int) -> Path:
    """What the Trainer leaves, with weights that nobody could load."""
    path.mkdir(parents=True)
    with zipfile.ZipFile(path / "state_dict.pth", "w") as weights:  # stored, as torch does
        weights.writestr("archive/data/0", bytes(2000))
    counts = {"batches_trained": batches, "epochs_trained": batches // 10, "trial_id": 0, "last_ckpt": batches}
    (path / "trial_state.pkl").write_bytes(pickle.dumps({**counts, "step_id": 0, "last_val": batches}))
    (path / "identity.json").write_text(json.dumps({"architecture": [1], "seed": 3}))
    write_digests(path)
    return path
