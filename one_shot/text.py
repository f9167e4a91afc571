"""Search on text, in the recurrent space.

Weights are trained on the text's training split; the architecture, as in DARTS (Liu et al. 2019, arXiv 1806.09055, appendix
A.1.2), on its validation split, or with `arch_data: part` on the end of the training split. Both streams are read in slices,
side by side, and each carries its own hidden state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset, Sampler

from data import load_corpus
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.metrics import perplexity
from nas.core.optimizers import fused_sgd
from nas.core.seeds import torch_generator
from nas.core.space import Size, Space
from nas.core.variants import SharedScores
from one_shot.ablation import score_others
from one_shot.pairs import PairedColumns
from one_shot.strategy import Objective, Progress, Scores
from one_shot.task import Inputs, Place, Step, Sums, Task, Trained
from one_shot.text_rules import TextSearchConfig, problems_of, warnings_of
from randomNAS_files.architecture import NODES
from randomNAS_files.corpora import PTB_TOKENS, DataConfig, known_vocabulary
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast.networks import supernet_type
from randomNAS_files.fast.precision import WithPrecision, check_precision
from randomNAS_files.memory import estimate_supernet
from randomNAS_files.model import ModelConfig, Output, activation_penalty
from randomNAS_files.nested import NestedSGD
from randomNAS_files.scoring import score_paths
from randomNAS_files.settings import fits_text
from randomNAS_files.slices import IGNORED, Columns, RandomSlices, Slice, fixed_slices, shard_columns
from randomNAS_files.space import SPACE
from randomNAS_files.supernet import Supernet, SupernetConfig


class TextTask(Task):
    """One corpus.

    Args:
        settings: see `one_shot.settings.Settings`.
    """

    package = SPACE.package
    program = "model_def.py"
    groups = (ModelConfig, SupernetConfig, TextSearchConfig)
    data_group = DataConfig
    shown = ("loss", "perplexity")
    when_diverging = f"{Task.when_diverging}, or set hyperparameters.max_state_norm"
    names = ("loss",)
    net: Supernet

    def __init__(self, settings: Any, place: Place) -> None:
        self.settings, self.place = settings, place
        self.model, self.config = settings.groups[ModelConfig], settings.groups[TextSearchConfig]
        self.max_norm = self.config.clip_gradients_l2_norm
        check_precision(self.config.precision, place.device)
        self.corpus = load_corpus(settings.data)
        lengths = {split: len(tokens) for split, tokens in self.corpus.splits.items()}
        if wrong := fits_text(self.config, lengths, False, exact=True):
            raise ConfigError(wrong)
        self.shard = shard_columns(self.config.global_batch_size, place.rank, place.processes)
        train, architecture = self._streams()
        size, name = self.config.global_batch_size, "hyperparameters.global_batch_size"
        self.train = Columns(train, size, self.shard, pad=False, name=name)
        self.architecture = None
        if architecture is not None:
            self.architecture = Columns(architecture, size, self.shard, pad=False, name=name)
        eval_shard = shard_columns(self.config.eval_batch_size, place.rank, place.processes)
        self.valid = Columns(self.corpus.valid, self.config.eval_batch_size, eval_shard, pad=True)
        weights = torch_generator("cpu", place.seed, "weights")
        kind = supernet_type(settings.groups[SupernetConfig], place.fast)
        self.net = kind(self.model, len(self.corpus.vocabulary), weights, settings.groups[SupernetConfig])
        if isinstance(self.net, WithPrecision):
            self.net.use_precision(self.config.precision)
        columns = self.shard.stop - self.shard.start
        self.hidden, self.arch_hidden = self.net.initial_state(columns), self.net.initial_state(columns)
        self._next: list[list[torch.Tensor] | None] = [None, None]
        self._eval_hidden: list[list[torch.Tensor]] = []
        self._nested: NestedSGD | None = None

    def _streams(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens that the weights and the architecture are trained on."""
        train, search = self.corpus.train, self.settings.search
        if not self.settings.learns:
            return train, None
        if search.arch_data == "validation":
            return train, self.corpus.valid
        kept = len(train) - round(search.arch_fraction * len(train))
        return train[:kept], train[kept:]

    @classmethod
    def problems(cls, settings: Any, processes: int) -> list[str]:
        return problems_of(settings, processes)

    @classmethod
    def warnings(cls, settings: Any) -> list[str]:
        return warnings_of(settings)

    @classmethod
    def space(cls, settings: Any) -> Space[Any]:
        return cast(Space[Any], settings.groups[SupernetConfig].space)

    @classmethod
    def supernet_json(cls, settings: Any) -> dict[str, Any]:
        model = settings.groups[ModelConfig]
        words, _ = known_vocabulary(settings.data)
        own = {"nhid": model.nhid, "depth": model.depth, "init_op": model.init_op, "words": words}
        supernet = settings.groups[SupernetConfig]
        own.update({name: getattr(supernet, name) for name in ("state_norm", "sharing", "output")})
        if supernet.nodes != NODES:  # else as in checkpoints from before it could be another number
            own["nodes"] = supernet.nodes
        return {**own, **supernet.restrictions()}

    @classmethod
    def supernet_size(cls, settings: Any) -> Size:
        words, _ = known_vocabulary(settings.data)
        model, beside = settings.groups[ModelConfig], settings.groups[SupernetConfig]
        with torch.device("meta"):
            net = Supernet(model, words, torch_generator("cpu", 0), beside)
        return Size(sum(parameter.numel() for parameter in net.parameters()))

    @classmethod
    def size_settings(cls, settings: Any) -> dict[str, Any]:
        model, (words, _) = settings.groups[ModelConfig], known_vocabulary(settings.data)
        return {"hidden": model.nhid, "depth": model.depth, "vocabulary": words}

    @classmethod
    def retraining(cls, beside: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(("emsize", "nhid", "nhidlast"), beside["hidden"]) if "hidden" in beside else {}

    @classmethod
    def directions(cls, settings: Any | None) -> dict[str, str]:
        return {"loss": "minimize", "perplexity": "minimize"}

    @classmethod
    def data_facts(cls, settings: Any) -> tuple[str, int | None, str, int | None]:
        words, known = known_vocabulary(settings.data)
        tokens = PTB_TOKENS["train"] if settings.data.corpus == "ptb" else None
        if tokens is not None and settings.learns and settings.search.arch_data == "part":
            tokens -= round(settings.search.arch_fraction * tokens)
        return f"{settings.data.corpus} ({words:,} {known})", tokens, "words", None

    @classmethod
    def memory(cls, settings: Any, batch: int, device: str) -> MemoryEstimate:
        """For the longest slice that may be drawn."""
        config = settings.groups[TextSearchConfig]
        return estimate_supernet(
            settings.groups[ModelConfig],
            settings.groups[SupernetConfig],
            known_vocabulary(settings.data)[0],
            batch,
            config.bptt + config.max_seq_length_delta,
            fast=settings.fast,
            alpha=config.alpha,
            beta=config.beta,
            order=settings.order,
            mixture=settings.mixes,
            precision=config.precision,
            device=device,
        )

    @classmethod
    def random_losses(cls, settings: Any, batch: int, device: torch.device) -> tuple[nn.Module, Objective]:
        config, generator = settings.groups[TextSearchConfig], torch_generator("cpu", 0)
        words, _ = known_vocabulary(settings.data)
        kind = supernet_type(settings.groups[SupernetConfig], settings.fast_on(device))
        net = kind(settings.groups[ModelConfig], words, generator, settings.groups[SupernetConfig]).to(device)
        if isinstance(net, WithPrecision):
            net.use_precision(config.precision)
        tokens = torch.randint(words, (config.bptt, batch), generator=generator).to(device)

        def loss(weights: ArchWeights) -> torch.Tensor:
            output = net(tokens, net.initial_state(batch), weights, None, tokens)
            assert output.loss is not None
            mean: torch.Tensor = output.loss / tokens.numel()
            return mean

        return net, loss

    @classmethod
    def global_batch_size(cls, settings: Any) -> int:
        return cast(int, settings.groups[TextSearchConfig].global_batch_size)

    def data_parts(self) -> dict[str, DataPart]:
        return self.corpus.parts(("train", "valid"))

    def optimizer(self) -> torch.optim.Optimizer:
        if self.net.supernet.hidden_choices is not None:
            named = list(self.net.named_parameters())
            self._nested = NestedSGD(named, self.config.learning_rate, self.config.wdecay)
            return self._nested
        sgd = fused_sgd if self.place.fast else torch.optim.SGD
        return sgd(self.net.parameters(), self.config.learning_rate, weight_decay=self.config.wdecay)

    def training_batches(self) -> tuple[Dataset[Any], Sampler[list[Slice]]]:
        config = self.config
        slices = RandomSlices(len(self.train), config.bptt, config.max_seq_length_delta, self.place.seed)
        return PairedColumns(self.train, self.architecture), slices

    def validation_batches(self) -> tuple[Dataset[Any], list[list[Slice]]]:
        return self.valid, [[piece] for piece in fixed_slices(len(self.valid), self.config.bptt)]

    def score_all(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        columns = Columns(self.corpus.valid, self.config.eval_batch_size, slice(None), pad=True)
        rows = None if batches is None else batches * self.config.bptt
        losses = score_paths(self.net, columns, self.config.bptt, entrants, rows)
        return [self.report({"loss": loss}) for loss in losses]

    def score_others(self, genotypes: Sequence[Any]) -> SharedScores:
        columns = Columns(self.corpus.valid, self.config.eval_batch_size, slice(None), pad=True)
        return score_others(self.net, columns, self.config.bptt, genotypes)

    def begin(self, batch: Any, progress: Progress) -> Step:
        (inputs, targets), other = batch
        config, place = self.config, self.place
        if progress.step % progress.epoch_length == 0:
            self.hidden = self.net.initial_state(inputs.size(1))
            self.arch_hidden = self.net.initial_state(inputs.size(1))
        rate = config.rate(progress.epoch) * len(inputs) / config.bptt

        purposes = ("dropout", "dropout of the architecture's batch")
        generators = [torch_generator(place.device, place.seed, purpose, progress.step) for purpose in purposes]
        masks = [self.net.draw_masks(each, config.global_batch_size, self.shard).tensors() for each in generators]
        given, samples = (inputs, targets, *self.hidden, *masks[0]), targets.numel()
        if not other:
            return Step(rate, samples, *self.train_on(given), None, given)
        arch_given = (*other, *self.arch_hidden, *masks[1])
        return Step(rate, samples, *self.train_on(given), self.valid_on(arch_given), given, arch_given)

    def _run(self, which: int, given: Inputs, weights: ArchWeights) -> tuple[Output, torch.Tensor, int]:
        """The output for the tensors of a step, its loss, and of how many words that is the sum."""
        x, y, *rest = cast("list[torch.Tensor]", given)
        depth = len(self.net.cells)
        output: Output = self.net(x, rest[:depth], weights, DropoutMasks.of(rest[depth:]), y)
        self._next[which] = [h.detach() for h in output.hidden]
        assert output.loss is not None
        return output, output.loss, y.numel()

    def train_on(self, given: Inputs) -> tuple[Callable[[ArchWeights], Trained], Objective]:
        def train(weights: ArchWeights) -> Trained:
            output, loss, words = self._run(0, given, weights)
            if self._nested is not None:
                self._nested.size = output.states.size(-1)
            objective = loss / words + activation_penalty(output, self.config.alpha, self.config.beta)
            return Trained(objective, {"loss": loss.detach()})

        return train, lambda weights: train(weights).objective

    def valid_on(self, given: Inputs) -> Objective:
        def loss(weights: ArchWeights) -> torch.Tensor:
            _, total, words = self._run(1, given, weights)
            return total / words

        return loss

    def carried(self, which: int) -> Sequence[torch.Tensor]:
        return self._next[which] or ()

    def carry(self, which: int, states: Sequence[torch.Tensor]) -> None:
        self._next[which] = list(states)

    def scores_on(self, number: int) -> Scores | None:
        """On `bptt` rows of the architecture's text, one batch after the other from its beginning."""
        if self.architecture is None:
            return None
        batch, device = self._arch_batch(self.architecture, number), self.place.device

        def scores(architectures: Sequence[ArchWeights]) -> torch.Tensor:
            return torch.tensor(score_paths(self.net, batch, len(batch), architectures), device=device)

        return scores

    def scored_loss_on(self, number: int) -> Objective | None:
        if self.architecture is None:
            return None
        batch, device = self._arch_batch(self.architecture, number), self.place.device
        return self.objective_on((batch.inputs.to(device), batch.targets.to(device)))

    def _arch_batch(self, architecture: Columns, number: int) -> Columns:
        rows = min(self.config.bptt, len(architecture))
        return architecture.some_rows(number % (len(architecture) // rows) * rows, rows)

    def end(self) -> None:
        """Carry the states that the step ended with."""
        after, arch_after = self._next
        self.hidden, self.arch_hidden = self._bounded(after or self.hidden), arch_after or self.arch_hidden
        self._next = [None, None]

    def _bounded(self, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
        """States `(B, H)` of the weights' text, those of too large a norm made as small as may be."""
        most = self.config.max_state_norm
        if not most:
            return hidden
        return [h * (most / h.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0) for h in hidden]

    @torch.no_grad()
    def score(self, entrants: Sequence[ArchWeights], batch: Any, first: bool) -> tuple[torch.Tensor, list[Sums]]:
        inputs, targets = batch
        if first:
            self._eval_hidden = [self.net.initial_state(inputs.size(1)) for _ in entrants]
        found = []
        for k, weights in enumerate(entrants):
            output = self.net(inputs, self._eval_hidden[k], weights, None, targets)
            self._eval_hidden[k] = output.hidden
            found.append({"loss": output.loss})
        return (targets != IGNORED).sum(), found

    def objective_on(self, batch: Any) -> Objective:
        inputs, targets = batch
        words = (targets != IGNORED).sum()

        def loss(weights: ArchWeights) -> torch.Tensor:
            with self.all_digits():
                output: Output = self.net(inputs, self.net.initial_state(inputs.size(1)), weights, None, targets)
            assert output.loss is not None
            total: torch.Tensor = output.loss / words
            return total

        return loss

    def all_digits(self) -> AbstractContextManager[None]:
        return self.net.all_digits() if isinstance(self.net, WithPrecision) else super().all_digits()

    def report(self, means: dict[str, float], training: bool = False) -> dict[str, float]:
        return {"loss": means["loss"], "perplexity": perplexity(means["loss"])}

    def rank_state(self) -> Any:
        return [[h.detach().cpu() for h in state] for state in (self.hidden, self.arch_hidden)]

    def load_rank_states(self, states: list[Any]) -> None:
        """Join the columns of all processes that there were and take the own ones."""
        if not states:
            return
        device = self.place.device

        def joined(which: int) -> list[torch.Tensor]:
            layers = zip(*(state[which] for state in states), strict=True)
            return [torch.cat(parts)[self.shard].to(device) for parts in layers]

        self.hidden, self.arch_hidden = joined(0), joined(1)
