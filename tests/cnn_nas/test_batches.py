from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_nas.images.arrays import Images
from cnn_nas.images.batches import ProcessImages, ShuffledBatches, in_order
from nas.core.errors import ConfigError


def epochs(batches: ShuffledBatches, count: int) -> list[list[torch.Tensor]]:
    """The first epochs, each a list of batches of indices."""
    taken = [batch for (batch,) in islice(batches, count * len(batches))]
    return [taken[i * len(batches) : (i + 1) * len(batches)] for i in range(count)]


@pytest.mark.parametrize(("images", "size"), [(10, 3), (12, 3), (7, 7), (9, 5), (2, 2)])
def test_an_epoch_has_each_image_at_most_once(images: int, size: int) -> None:
    batches = ShuffledBatches(images, size, 0)
    assert len(batches) == images // size
    for epoch in epochs(batches, 3):
        assert all(batch.dtype == torch.int64 and batch.shape == (size,) for batch in epoch)
        seen = torch.cat(epoch)
        assert len(seen) == len(set(seen.tolist())) == size * len(batches)
        assert seen.min() >= 0 and seen.max() < images


def test_epochs_differ_and_leave_out_other_images() -> None:
    found = [torch.cat(epoch) for epoch in epochs(ShuffledBatches(23, 5, 1), 4)]
    assert all(not torch.equal(one, two) for i, one in enumerate(found) for two in found[:i])
    left_out = {frozenset(range(23)) - set(epoch.tolist()) for epoch in found}
    assert len(left_out) == 4 and all(len(images) == 3 for images in left_out)


def test_every_image_is_seen_as_often() -> None:
    seen = torch.bincount(
        torch.cat([torch.cat(epoch) for epoch in epochs(ShuffledBatches(11, 4, 2), 550)]), minlength=11
    )
    assert (seen / 550 - 8 / 11).abs().max() < 0.08  # four standard deviations


def test_batches_depend_on_seed_and_epoch_only() -> None:
    batches = ShuffledBatches(40, 8, 7)
    first, again, other, larger = (
        epochs(each, 2) for each in (batches, batches, ShuffledBatches(40, 8, 8), ShuffledBatches(40, 5, 7))
    )
    flat, same, elsewhere = (torch.stack([*each[0], *each[1]]) for each in (first, again, other))
    assert torch.equal(flat, same) and not torch.equal(flat, elsewhere)
    for one, two in zip(first, larger, strict=True):
        assert torch.equal(torch.cat(one), torch.cat(two)), "an epoch's order does not depend on the batch size"


def test_skipping_gives_what_an_interrupted_run_would_have_seen() -> None:
    batches = ShuffledBatches(17, 4, 3)
    whole = [batch for (batch,) in islice(batches, 12)]
    rest = [batch for (batch,) in islice(batches, 7, 12)]
    assert all(torch.equal(one, two) for one, two in zip(whole[7:], rest, strict=True))


def test_the_order_is_frozen() -> None:
    """These numbers never change: a run resumed with another version must see the same batches."""
    assert [batch.tolist() for (batch,) in islice(ShuffledBatches(7, 3, 300), 3)] == [[5, 2, 1], [6, 3, 4], [2, 0, 6]]


def test_a_device_is_given_the_order_once_an_epoch() -> None:
    """The meta device stands for a GPU."""
    batches = ShuffledBatches(12, 3, 1, device="meta")
    with Copies() as copies:
        taken = [batch for (batch,) in islice(batches, 2 * len(batches))]
        images = Images(torch.zeros(12, 1, 2, 2, device="meta"), torch.zeros(12, device="meta"))
        pixels, targets = ProcessImages(images, slice(0, 2))[taken[0]]
    assert {batch.device.type for batch in taken} == {"meta"} and copies.count == 2
    assert pixels.shape == (2, 1, 2, 2) and targets.shape == (2,)


class Copies(TorchDispatchMode):
    """Counts copies to another device or type."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_nothing_global_decides() -> None:
    before = torch.random.get_rng_state()
    torch.manual_seed(1)
    one = torch.cat(epochs(ShuffledBatches(9, 9, 0), 1)[0])
    torch.manual_seed(2)
    assert torch.equal(one, torch.cat(epochs(ShuffledBatches(9, 9, 0), 1)[0]))
    torch.random.set_rng_state(before)


def test_fewer_images_than_a_batch_takes_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        ShuffledBatches(9, 10, 0)
    assert caught.value.problems == [
        "hyperparameters.global_batch_size must be at most 9, the number of images to train on, got 10"
    ]


def numbered(count: int) -> Images:
    """Image i shows i everywhere, and so says its target."""
    table = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 5).contiguous()
    return Images(table, torch.arange(count))


def test_two_processes_have_what_one_has() -> None:
    images = numbered(20)
    one, *parts = (ProcessImages(images, own) for own in (slice(0, 6), slice(0, 3), slice(3, 6)))
    for (indices,) in islice(ShuffledBatches(20, 6, 5), 5):
        pixels, targets = one[indices]
        assert pixels.shape == (6, 3, 4, 5) and pixels.dtype == torch.uint8
        assert torch.equal(targets, indices) and torch.equal(pixels[:, 0, 0, 0].long(), indices)
        shares = [part[indices] for part in parts]
        assert all(len(share[1]) == 3 for share in shares)
        assert torch.equal(torch.cat([share[0] for share in shares]), pixels)
        assert torch.equal(torch.cat([share[1] for share in shares]), targets)
    assert len(one) == 20


@pytest.mark.parametrize("size", [1, 3, 5, 7, 100])
def test_evaluation_takes_each_image_once_in_order(size: int) -> None:
    batches = in_order(2, 12, size)
    assert torch.cat(batches).tolist() == list(range(2, 12))
    assert all(len(batch) == size for batch in batches[:-1]) and 1 <= len(batches[-1]) <= size


def test_the_parts_of_all_processes_are_all_images() -> None:
    for count in (1, 2, 5, 16):
        for processes in (1, 2, 3):
            ends = [count * rank // processes for rank in range(processes + 1)]
            parts = [torch.cat(in_order(ends[rank], ends[rank + 1], 2)) for rank in range(processes)]
            assert torch.cat(parts).tolist() == list(range(count))
