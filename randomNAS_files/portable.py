"""A trained language model for use elsewhere: words and a state in, logits of the next word and the next state out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nas.core.portable import Portable
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.model import LanguageModel
from randomNAS_files.space import SPACE

COLUMNS, WORDS = 3, 5
"""To compare the exported network on."""


class NextWord(nn.Module):
    """One step of a language model, whose state goes in and comes out."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__()
        self.network = network
        self.masks = DropoutMasks.nothing(len(network.cells))  # torch 2.3 cannot export a step that makes them

    def forward(self, words: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `(B, V)` of the next word after words `(B,)`, and the next state; states are `(layers, B, H)`."""
        output = self.network(words.unsqueeze(0), list(state.unbind(0)), self.masks)
        return output.logits[0], torch.stack(output.hidden)


@torch.no_grad()
def portable(trained: LanguageModel, tokens: torch.Tensor, vocabulary: Sequence[str]) -> Portable:
    """A trained language model and its vocabulary.

    Args:
        trained: as it is evaluated (averaged weights are in their place), on any device.
        tokens: of a real text, int64, at least 15.
        vocabulary: the word of each token.
    """
    settings = trained.config
    sizes = {
        "hidden": settings.nhid,
        "vocabulary": len(vocabulary),
        "depth": settings.depth,
        "init_op": settings.init_op,
    }
    network = SPACE.network(trained.genotype, 0, **sizes).eval()
    network.load_state_dict({name: value.cpu() for name, value in trained.state_dict().items()})
    words = tokens[: COLUMNS * WORDS].view(COLUMNS, WORDS).t().contiguous()  # (T, B)
    trained.eval()
    output = trained(words.to(trained.embedding.device), trained.initial_state(COLUMNS))
    module = NextWord(network).eval()
    state = torch.stack(network.initial_state(COLUMNS))  # (layers, B, H), or (layers, B, 2H) of h and c
    for step in words[:-1]:
        _, state = module(step, state)
    width = "hidden" if state.size(-1) == settings.nhid else "2 hidden: h, then c"
    return Portable(
        network,
        sizes,
        module,
        (words[-1], state),
        (output.logits[-1].float().cpu(), torch.stack([each.float().cpu() for each in output.hidden])),
        (("words", "state"), ("logits", "next_state")),
        (0, 1),
        {"vocabulary": list(vocabulary)},
        (
            f"in: words, int64 (B,), places in the vocabulary; state, float32 (layers, B, {width}), zeros at first",
            "out: logits of the next word, (B, vocabulary), before the softmax; the next state",
        ),
    )
