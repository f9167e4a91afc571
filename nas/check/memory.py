"""How much memory one process needs to train: measured on the meta device, whose tensors have shapes and no contents.

A training step's forward pass runs there and every tensor that autograd saves for the backward pass is counted. What a
device takes beside this: the framework itself (about half a GB for CUDA), the data set, space for convolutions, and what
its allocator holds back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from cnn_nas import trial as images
from cnn_nas.fast.network import FastNetwork
from cnn_nas.images.data import expected
from cnn_nas.images.metrics import Classification, Regression
from cnn_nas.model import DropPath, Network
from data import PTB_WORDS, PYDOC_WORDS, DataConfig
from model_def import Settings as RecurrentSettings
from nas.core.seeds import torch_generator
from randomNAS_files.dropout import Masks
from randomNAS_files.fast.decoder import CHUNK
from randomNAS_files.model import LanguageModel, activation_penalty

ASSUMED_WORDS = 10_000  # of a corpus that is not read


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    parameters: int  # with batch norm's running means
    optimizer: int  # gradients, and the momentum or mean of each parameter
    activations: int  # saved for the backward pass
    working: (
        int  # where the backward pass starts: the gradients of the largest activation, one before and one after it; of
    )
    # the fast recurrent form, some rows' logits and the gradient of the shared weights
    inputs: int  # the batch as it is read, and its copies while it is augmented

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.optimizer + self.activations + self.working + self.inputs


class UnitDropPath(DropPath):
    """Drops nothing; its masks are those of a process's own images and take the memory that drawn ones do."""

    def mask(self) -> torch.Tensor | None:
        return None if self.p == 0 else torch.ones(self.batch_size, 1, 1, 1)


class UnitMasks(Masks):
    """The same for the recurrent masks."""

    def _draw(self, p: float, *shape: int) -> torch.Tensor:
        return torch.ones(shape)


def saved(forward: Callable[[], Iterable[torch.Tensor]], without: Iterable[torch.Tensor]) -> list[int]:
    """Bytes of each piece of memory that backward needs, or that the tensors returned by `forward` keep alive.

    Views of the same memory count once; that of the tensors `without` does not count.
    """
    found: dict[int, torch.UntypedStorage] = {}  # which also keeps them from being freed and their place used again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = list(forward())
    for tensor in kept:
        pack(tensor)
    for tensor in without:
        found.pop(tensor.untyped_storage()._cdata, None)
    return [storage.nbytes() for storage in found.values()]


def image_memory(settings: images.Settings, processes: int, device: str = "meta") -> Memory:
    """Of an image trial, by the shapes that `data.expected` tells."""
    model, optimizer = settings.model, settings.optimizer
    outputs, (channels, height, width) = expected(settings.data)
    batch = optimizer.global_batch_size // processes
    drop = UnitDropPath(torch_generator("cpu", 0), batch, slice(None), model.drop_path_prob)
    scores = Regression(0.0, 1.0) if outputs == 1 else Classification()
    with torch.device(device):
        kind = Network if settings.run.fast is False else FastNetwork
        net = kind(model, settings.genotype, outputs, channels, (height, width), torch_generator("cpu", 0))
        targets = torch.zeros(batch, dtype=torch.float32 if outputs == 1 else torch.int64)

        def forward() -> list[torch.Tensor]:
            output = net(torch.zeros(batch, channels, height, width), drop)
            heads = [logits for logits in output if logits is not None]
            return [*heads, *(scores.objective(logits, targets) for logits in heads)]

        activations = saved(forward, net.parameters())
    pixels = batch * channels * height * width
    padding = 2 * optimizer.crop_padding
    padded = batch * channels * (height + padding) * (width + padding) if padding else 0
    copies = pixels * (1 + 3 * optimizer.flip) + padded + (pixels if padding else 0)  # uint8
    return _memory(net, activations, 1 if optimizer.momentum else 0, copies)


def recurrent_memory(settings: RecurrentSettings, processes: int, device: str = "meta") -> Memory:
    """Of a recurrent trial, for the longest slice that it may draw."""
    config = settings.optimizer
    columns, length = config.global_batch_size // processes, config.bptt + config.max_seq_length_delta
    masks = UnitMasks(torch_generator("cpu", 0), columns, slice(None))
    words, _ = vocabulary(settings.data)
    with torch.device(device):
        net = LanguageModel(settings.model, settings.genotype, words, torch_generator("cpu", 0))
        net.use_fast(settings.run.fast is not False)
        tokens = torch.zeros(length, columns, dtype=torch.int64)

        def forward() -> list[torch.Tensor]:
            output = net(tokens, net.initial_state(columns), masks, targets=tokens)
            kept = [] if output.logits is None else [output.logits]
            penalty = activation_penalty(output, config.alpha, config.beta)
            return [*kept, output.states, output.dropped, *output.hidden, output.loss + penalty]

        activations = saved(forward, net.parameters())
    logits = min(CHUNK, length * columns) * words * net.embedding.element_size()
    return _memory(net, activations, 1, 2 * tokens.nbytes, logits + net.embedding.nbytes if net.fast else None)


def vocabulary(data: DataConfig) -> tuple[int, str]:
    """How many words a corpus has, and how that is known without reading it."""
    if data.corpus == "ptb":
        return data.vocabulary_size or PTB_WORDS, "words of Penn Treebank"
    if data.corpus == "pydoc":
        return data.vocabulary_size or PYDOC_WORDS, "words, at most"
    if data.vocabulary_size:
        return data.vocabulary_size, "words, at most (data.vocabulary_size)"
    return ASSUMED_WORDS, "words assumed: the corpus is not read, and data.vocabulary_size sets no limit"


def _memory(
    net: torch.nn.Module, activations: list[int], moments: int, inputs: int, working: int | None = None
) -> Memory:
    parameters = sum(parameter.nbytes for parameter in net.parameters())
    buffers = sum(buffer.nbytes for buffer in net.buffers())
    most = 2 * max(activations) if working is None else working
    return Memory(parameters + buffers, parameters * (1 + moments), sum(activations), most, inputs)
