"""Devices and threads are shared evenly."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.core.errors import ConfigError
from nas.engine import placement as placing


@given(
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    gpus=st.integers(1, 9),
    slots=st.integers(1, 4),
    asked=st.none() | st.integers(1, 12),
    most=st.integers(1, 12),
    cores=st.integers(1, 64),
)
def test_places_share_devices_and_threads(
    device: str, gpus: int, slots: int, asked: int | None, most: int, cores: int
) -> None:
    names = [f"GPU-{chr(ord('a') + i)}" for i in range(max(gpus, slots))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "cpus", lambda: cores)
        places = placing.placements(device, names if device == "cuda" else [], slots, asked, most)
    groups = len(names) // slots if device == "cuda" else 1
    assert len(places) == (asked or min(groups, most))
    assert len(set(places)) == len(places) or len(places) > groups
    assert {place.device for place in places} == {device}
    threads = {place.threads for place in places}
    assert threads == {max(1, cores // (len(places) * slots))}
    used = Counter(name for place in places for name in place.visible)
    if device != "cuda":
        assert not used
        return
    assert all(len(set(place.visible)) == slots for place in places)
    assert set(used) <= set(names)
    assert max(used.values()) == math.ceil(len(places) / groups)  # one each, while there are enough
    assert min(used.values()) >= len(places) // groups


@pytest.mark.parametrize("asked", [-1, 0, 33, 100_000, 10**20])
def test_more_workers_than_a_machine_could_take_are_refused(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "cpus", lambda: 2)
    with pytest.raises(ConfigError, match=f"1 to 32, 16 for each of the 2 CPUs; got {asked}$"):
        placing.placements("cpu", [], 1, asked, 4)
    assert len(placing.placements("cpu", [], 1, 32, 4)) == 32
