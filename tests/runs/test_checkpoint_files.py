"""What is damaged of a checkpoint is known before anything of it is loaded. No torch."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.damage import DAMAGES, write_checkpoint

from nas.core.errors import DataError
from nas.runs import checkpoint_files
from nas.runs.checkpoint_files import (
    DamagedCheckpointError,
    check_owner,
    check_whole,
    close_to_others,
    damage,
    read_progress,
    whole_ones,
)

FILES = ("state_dict.pth", "trial_state.pkl", "identity.json", "digests.json")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoints" / "a", 30)


def test_one_that_is_whole(checkpoint: Path) -> None:
    assert damage(checkpoint) is None and read_progress(checkpoint)["batches_trained"] == 30
    (checkpoint / "metadata.json").write_text("{}")  # written after the digests
    assert damage(checkpoint) is None
    (checkpoint / "digests.json").unlink()  # from before there were any
    assert damage(checkpoint) is None


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_any_damage_is_found_and_the_file_named(checkpoint: Path, file: str, how: str) -> None:
    DAMAGES[how](checkpoint / file)
    found = damage(checkpoint)
    if (file, how) == ("digests.json", "gone"):
        assert found is None
    elif (file, how) == ("digests.json", "flip"):
        assert found is not None
    else:
        assert found is not None and found.startswith(file)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["state_dict.pth", "trial_state.pkl"])
def test_damage_of_one_without_digests_is_found(checkpoint: Path, file: str, how: str) -> None:
    (checkpoint / "digests.json").unlink()
    before = (checkpoint / file).read_bytes()
    DAMAGES[how](checkpoint / file)
    found = damage(checkpoint)
    assert found is not None and found.startswith(file)
    if how == "flip" and file == "state_dict.pth":
        with zipfile.ZipFile(checkpoint / file) as weights:  # the flipped bit is in a tensor, not in the structure
            assert len(weights.namelist()) == 1 and len(before) == (checkpoint / file).stat().st_size


@pytest.mark.parametrize(
    "content",
    [
        *('{"files": {}}', '{"files": 3}', '{"files": {"state_dict.pth": 1, "trial_state.pkl": 1}}', '{"files": null}'),
        '{"files": {"state_dict.pth": {"bytes": 1e999, "sha256": 1}, "trial_state.pkl": {"bytes": 1, "sha256": 1}}}',
        '{"files": {"state_dict.pth": {"bytes": 1}, "trial_state.pkl": {}}}',
    ],
)
def test_digests_of_wrong_types_are_damage(checkpoint: Path, content: str) -> None:
    (checkpoint / "digests.json").write_text(content)
    assert damage(checkpoint) == "digests.json is damaged"


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def state(**changes: Any) -> bytes:
    return pickle.dumps({"trial_id": 0, "batches_trained": 1, "epochs_trained": 0, **changes})


@pytest.mark.parametrize(
    "content",
    [
        lambda mark: state(last_val=Malice(mark)),
        lambda mark: pickle.dumps(Malice(mark)),
        lambda mark: state(batches_trained="1"),
        lambda mark: state(batches_trained=10**30),
        lambda mark: state(batches_trained=1.5),
        lambda mark: state(batches_trained=True),
        lambda mark: state(surprise=1),
        lambda mark: pickle.dumps([1]),
        lambda mark: b"\x80\x04r\xff\xff\xff\x7fN.",  # memo 2^31: the reader in C would reserve 32 GB
    ],
)
def test_only_whole_numbers_are_read_and_nothing_is_run(
    tmp_path: Path, checkpoint: Path, content: Callable[[Path], bytes]
) -> None:
    (checkpoint / "trial_state.pkl").write_bytes(content(tmp_path / "mark"))
    with pytest.raises(ValueError, match="is not what Determined writes"):
        read_progress(checkpoint)
    assert not (tmp_path / "mark").exists()


def test_a_sentence_names_the_one_beside_it_that_is_whole(checkpoint: Path) -> None:
    write_checkpoint(checkpoint.parent / "b", 20)
    write_checkpoint(checkpoint.parent / "c", 100)
    DAMAGES["cut"](checkpoint / "state_dict.pth")
    with pytest.raises(
        DamagedCheckpointError, match=rf"{checkpoint} is damaged: state_dict.pth has .*; c beside it is whole"
    ):
        check_whole(checkpoint)
    assert whole_ones(checkpoint.parent) == ["c", "b"]
    for other in "bc":
        shutil.rmtree(checkpoint.parent / other)
    with pytest.raises(DamagedCheckpointError, match="copy or download it again"):
        check_whole(checkpoint)


def test_what_belongs_to_another_user_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    monkeypatch.setattr(checkpoint_files, "_owner", lambda path: 4321 if path.name == "trial_state.pkl" else mine)
    check_owner(checkpoint, checkpoint / "state_dict.pth", checkpoint / "not there")
    with pytest.raises(DataError, match=r"trial_state.pkl belongs to another user \(id 4321\).*cp -r"):
        check_owner(checkpoint, checkpoint / "trial_state.pkl")
    monkeypatch.setattr(checkpoint_files, "_owner", lambda path: mine + 1)
    monkeypatch.setattr(os, "fstat", lambda number, real=os.fstat: Shown(real(number), mine + 1))
    check_owner(checkpoint)  # a disk that shows all that we make as another's


class Shown:
    """What `os.fstat` says of a file, but for the owner."""

    def __init__(self, about: os.stat_result, owner: int) -> None:
        self._about, self.st_uid = about, owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._about, name)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o755), (0o002, 0o775), (0, 0o777)])
def test_a_folder_that_anybody_could_write_is_closed_as_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    before = os.umask(mask)
    try:
        close_to_others(tmp_path / "open")
        close_to_others(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o777 & ~mask
