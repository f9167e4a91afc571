"""Train a recurrent cell of the DARTS space as a language model, or score many cells with one set of weights.

Random-search NAS for recurrent cells: Li & Talwalkar 2019, arXiv 1902.07638. The architecture comes by name
(`arch_to_use`), from a seed (`arch_seed`), or node by node (`node1_op`, `node1_edge`, ...). The optimiser is that of
AWD-LSTM: SGD with clipping, averaged once validation stops improving (Merity et al. 2018, arXiv 1708.02182).

    python3 model_def.py --config train_one_arch.yaml        this machine
    det experiment create train_one_arch.yaml .              a Determined cluster
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from determined import pytorch

from data import PTB_TOKENS, SPLITS, DataConfig, known_vocabulary, load_corpus, most_tokens
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.fields import read
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.metrics import perplexity
from nas.core.portable import Portable
from nas.core.seeds import torch_generator
from nas.core.space import Size
from nas.trial import DataFacts, RunConfig, ShardedBatchLoader, Trial, WeightedMeans, main
from nas.trial.base import to_cpu
from nas.trial.callbacks import SwapAveragedWeights
from nas.trial.capture import CapturedStep, Step, captures
from nas.trial.metrics import replace_nonfinite
from randomNAS_files import architecture, scoring
from randomNAS_files.architecture import Genotype
from randomNAS_files.averaged_sgd import AveragedSGD
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast import scoring as fast_scoring
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.kernels.choice import check_kernels
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.networks import has_fast_form, network_type
from randomNAS_files.fast.precision import FULL, check_precision
from randomNAS_files.from_config import ArchitectureConfig, from_config
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.memory import estimate
from randomNAS_files.model import LanguageModel, ModelConfig, activation_penalty
from randomNAS_files.portable import portable
from randomNAS_files.scoring import score_slice, score_stream
from randomNAS_files.settings import EAGER, FastConfig, OptimizerConfig, fits_processes, fits_text
from randomNAS_files.slices import Columns, RandomSlices, fixed_slices, shard_columns
from randomNAS_files.space import SPACE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Everything a recurrent trial reads from its config."""

    run: RunConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    architecture: ArchitectureConfig
    genotype: Genotype | HadamardGenotype
    data: DataConfig
    fast: FastConfig

    def problems(self) -> list[str]:
        """What the plain form and a Hadamard cell do not go with."""
        found = []
        plain = "with fast: false" if self.run.fast is False else None
        if not has_fast_form(self.genotype):
            plain = "with a Hadamard cell, which has no fast form"
        of_fast = {"precision": (self.optimizer.precision, FULL), "kernels": (self.fast.kernels, EAGER)}
        for name, (value, default) in of_fast.items():
            if value != default and plain:
                found.append(f"hyperparameters.{name} must be {default} or left out {plain}, got {value!r}")
        if has_fast_form(self.genotype):
            return found
        if self.run.fast:
            found.append("hyperparameters.fast must be left out with a Hadamard cell, which has no fast form, got true")
        if self.run.cuda_graphs:
            found.append(
                "hyperparameters.cuda_graphs must be left out with a Hadamard cell, which needs the plain form, got true"
            )
        if not self.architecture.eval_same_arch:
            rule = "must be true with a Hadamard cell, whose weights fit no other cell"
            found.append(f"hyperparameters.eval_same_arch {rule}, got false")
        return found


def size_of(settings: Settings, vocabulary: int) -> Size:
    """What the network costs on a text of so many words."""
    model = settings.model
    return SPACE.size(settings.genotype, hidden=model.nhid, depth=model.depth, vocabulary=vocabulary)


class RecurrentTrial(Trial):
    """One recurrent cell, trained on one corpus."""

    space = "randomNAS_files"

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        data = context.get_experiment_config().get("data") or {}
        self.settings = self.check(context.get_hparams(), data, self.processes)
        check_kernels(self.settings.fast.kernels, context.device)
        check_precision(self.settings.optimizer.precision, context.device)
        self.seed = self.settings.architecture.training_seed(self.seed)
        self.corpus = load_corpus(self.settings.data)
        self.genotype = self.settings.genotype
        optimizer = self.settings.optimizer
        lengths = {split: len(getattr(self.corpus, split)) for split in SPLITS}
        if wrong := fits_text(optimizer, lengths, self.settings.run.evaluate_test, exact=True):
            raise ConfigError(wrong)
        self.shard = shard_columns(optimizer.global_batch_size, self.rank, self.processes)
        eval_shard = shard_columns(optimizer.eval_batch_size, self.rank, self.processes)
        self.train_columns = Columns(
            self.corpus.train,
            optimizer.global_batch_size,
            self.shard,
            pad=False,
            name="hyperparameters.global_batch_size",
        )
        self.valid_columns = Columns(
            self.corpus.valid, optimizer.eval_batch_size, eval_shard, pad=True, name="hyperparameters.eval_batch_size"
        )
        self._build_model()
        self.losses: list[float] = []  # of all validations, for the switch to averaging
        self.scores: list[dict[str, Any]] = []  # of random cells with the trained weights, best first

    def _build_model(self) -> None:
        context, settings = self.context, self.settings
        weights = torch_generator("cpu", self.seed, "weights")
        fast = settings.run.fast_on(context.device)
        kind = network_type(self.genotype, fast)
        self.net: LanguageModel = kind(settings.model, self.genotype, len(self.corpus.vocabulary), weights)
        if isinstance(self.net, FastLanguageModel):
            self.net.use_precision(settings.optimizer.precision)
            self.net.use_kernels(settings.fast.kernels)
        self.score_cells = fast_scoring.score_cells if fast else scoring.score_cells
        self.model = context.wrap_model(self.net)  # the same modules, perhaps behind data parallelism
        self.unused = self.net.unused_parameters()
        optimizer = settings.optimizer
        rate, decay, norm = optimizer.learning_rate, optimizer.wdecay, optimizer.clip_gradients_l2_norm
        device, graphs = context.device, settings.run.cuda_graphs
        sgd = (FastAveragedSGD if fast else AveragedSGD)(
            self.net.parameters(), rate, decay, max_norm=norm, capturable=graphs and captures(device)
        )
        self.sgd = context.wrap_optimizer(sgd)
        self.train_means = context.wrap_reducer(
            WeightedMeans(device, ("loss",), _metrics, over_epoch=True), for_validation=False
        )
        self.valid_means = context.wrap_reducer(WeightedMeans(device, ("loss",), _metrics), for_training=False)
        columns = self.shard.stop - self.shard.start
        if isinstance(self.net, FastLanguageModel) and device.type != "cpu":
            self.net.reserve(optimizer.bptt + optimizer.max_seq_length_delta, columns)
        self.step: Step = CapturedStep(self._step, self.net, self.sgd, device) if graphs else self._step
        self.hidden = self.net.initial_state(columns)
        self.eval_hidden: list[torch.Tensor] = []

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
        problems = ErrorCollector()
        nodes = architecture.node_hparams(hparams) if isinstance(hparams, Mapping) else {}
        rest = {name: value for name, value in hparams.items() if name not in nodes} if nodes else hparams
        groups = problems.catch(read, rest, RunConfig, ModelConfig, OptimizerConfig, ArchitectureConfig, FastConfig)
        sources = problems.catch(read, data, DataConfig, section="data")
        genotype = problems.catch(from_config, hparams) if isinstance(hparams, Mapping) else None
        if groups:
            problems.found += groups[0].fits_processes(processes) + fits_processes(groups[2], processes)
        if groups and sources:
            problems.found += fits_text(
                groups[2], most_tokens(sources[0]), groups[0].evaluate_test, exact=sources[0].corpus != "text"
            )
        problems.raise_any()
        run, model, optimizer, which, fast = groups
        settings = Settings(run, model, optimizer, which, genotype, sources[0], fast)
        problems.found += settings.problems()
        problems.raise_any()
        return settings

    @classmethod
    def metric_directions(cls, settings: Settings | None) -> dict[str, str]:
        return {"loss": "minimize", "perplexity": "minimize"}

    @classmethod
    def data_facts(cls, settings: Settings) -> DataFacts:
        words, known = known_vocabulary(settings.data)
        text = f"{settings.data.corpus} ({words:,} {known})"
        return DataFacts(text, PTB_TOKENS["train"] if settings.data.corpus == "ptb" else None, "words")

    @classmethod
    def network_size(cls, settings: Settings) -> Size:
        return size_of(settings, known_vocabulary(settings.data)[0])

    @classmethod
    def describe_size(cls, settings: Settings) -> str:
        size = cls.network_size(settings)
        return f"{size.parameters:,} parameters, {size.macs:,} MACs a word"

    @classmethod
    def memory(
        cls, settings: Settings, processes: int, global_batch_size: int | None = None, device: str = "meta"
    ) -> MemoryEstimate:
        """See `Trial.memory`; for the longest slice that may be drawn."""
        config = settings.optimizer
        return estimate(
            settings.model,
            settings.genotype,
            known_vocabulary(settings.data)[0],
            (global_batch_size or config.global_batch_size) // processes,
            config.bptt + config.max_seq_length_delta,
            fast=settings.run.fast is not False,
            alpha=config.alpha,
            beta=config.beta,
            precision=config.precision,
            device=device,
        ).with_graphs(settings.run.cuda_graphs)

    @classmethod
    def global_batch_size(cls, settings: Settings) -> int:
        return settings.optimizer.global_batch_size

    def data_parts(self) -> dict[str, DataPart]:
        """The splits that the run reads."""
        return self.corpus.parts(("train", "valid", "test") if self.settings.run.evaluate_test else ("train", "valid"))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        """Slices of random length of this process's columns."""
        optimizer = self.settings.optimizer
        slices = RandomSlices(len(self.train_columns), optimizer.bptt, optimizer.max_seq_length_delta, self.seed)
        return ShardedBatchLoader(self.train_columns, slices)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        """Slices of bptt words of this process's columns."""
        slices = fixed_slices(len(self.valid_columns), self.settings.optimizer.bptt)
        return ShardedBatchLoader(self.valid_columns, [[piece] for piece in slices])

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """One slice: go on from the carried state, step, carry the new state."""
        inputs, targets = batch
        config = self.settings.optimizer
        if index % self.epoch_length == 0:
            self.hidden = self.net.initial_state(inputs.size(1))
            self.train_means.start()
        generator = torch_generator(self.context.device, self.seed, "dropout", index)
        masks = self.net.draw_masks(generator, config.global_batch_size, self.shard)
        self.sgd.set_rate(config.learning_rate * len(inputs) / config.bptt)
        loss, *self.hidden = self.step(inputs, targets, *self.hidden, *masks.tensors())
        self.train_means.update(targets.numel(), loss=loss)
        return {"lr": config.learning_rate}

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
        """Forward, backward, clipping, descent and averaging: what of a step can be captured as a graph.

        Args:
            others: the states to go on from, and the tensors of the masks.

        Returns:
            The summed loss, and the states at the end.
        """
        config, depth = self.settings.optimizer, len(self.net.cells)
        output = self.model(inputs, others[:depth], DropoutMasks.of(others[depth:]), targets=targets)
        objective = output.loss / targets.numel() + activation_penalty(output, config.alpha, config.beta)
        for parameter in self.unused:  # data parallelism wants a gradient of every parameter
            objective = objective + 0 * parameter.sum()
        self.context.backward(objective)
        self.context.step_optimizer(self.sgd)  # which clips as well
        return output.loss.detach(), *(state.detach() for state in output.hidden)

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """One slice of the validation stream, with averaged weights if there are any; `valid_means` has the result."""
        inputs, targets = batch
        if batch_idx == 0:
            self.eval_hidden = self.net.initial_state(inputs.size(1))
        total, words, self.eval_hidden = score_slice(self.net, inputs, targets, self.eval_hidden)
        self.valid_means.update(words, loss=total)
        return {}

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """Evaluation with the averaged weights, around the bookkeeping of every trial."""
        return {"averaged_weights": SwapAveragedWeights(self.sgd), **super().build_callbacks()}

    def on_validation(self, metrics: dict[str, Any]) -> None:
        """Start averaging when validation has not improved for `nonmono` validations; score random cells at the end."""
        loss, earlier = float(metrics["loss"]), self.losses
        nonmono = self.settings.optimizer.nonmono
        if not self.sgd.averaging and len(earlier) > nonmono and loss > min(earlier[: len(earlier) - nonmono]):
            self.sgd.start_averaging()
            logger.info("validation has not improved for %d validations: averaging the weights from here on", nonmono)
        self.losses = [*earlier, loss]
        if self.complete and not self.settings.architecture.eval_same_arch:
            self._score_random_cells()

    def _score_random_cells(self) -> None:
        """Score random cells with the trained weights; each process takes its share of them."""
        count = self.settings.architecture.num_archs_to_eval or 0
        nodes = len(self.genotype.recurrent)
        cells = [(k, architecture.sample(self.seed, "evaluate", k, nodes=nodes)) for k in range(count)]
        mine = cells[self.rank :: self.processes]
        with self.sgd.averaged_weights():
            scores = self._score_all([cell for _, cell in mine])
        for score in scores:
            replace_nonfinite(score)  # NaN sorts nowhere, and is no JSON
        scored = [{"sample": k, **score, "genotype": cell} for (k, cell), score in zip(mine, scores, strict=True)]
        shares = self.context.distributed.gather(scored)
        if shares is None:
            return
        ranked = sorted(
            (score for share in shares for score in share), key=lambda score: (score["loss"], score["sample"])
        )
        self.scores = [{**score, "genotype": score["genotype"].to_json()} for score in ranked]
        for place, score in enumerate(ranked, start=1):
            self.report(
                "architectures",
                {"loss": score["loss"], "perplexity": score["perplexity"], "sample": score["sample"]},
                step=place,
            )
        best = ranked[0]
        logger.info(
            "best of %d random cells: perplexity %.2f, %s", count, best["perplexity"], best["genotype"].to_text()
        )

    def _score_all(self, cells: list[Genotype]) -> list[dict[str, float]]:
        """Loss and perplexity of each cell on the whole validation stream."""
        columns, bptt = self._columns(self.corpus.valid), self.settings.optimizer.bptt
        return [_metrics({"loss": loss}) for loss in self.score_cells(self.net, columns, bptt, cells)]

    def _columns(self, tokens: torch.Tensor) -> Columns:
        """A whole stream, for this process alone."""
        size = self.settings.optimizer.eval_batch_size
        return Columns(tokens, size, slice(None), pad=True, name="hyperparameters.eval_batch_size")

    def _score(self, tokens: torch.Tensor) -> dict[str, float]:
        """Loss and perplexity of a whole stream, read by this process alone, in evaluation mode."""
        return _metrics({"loss": score_stream(self.net, self._columns(tokens), self.settings.optimizer.bptt)})

    def conclude(self) -> None:
        """Score the test split once, with the final weights, if the run says so."""
        if not self.settings.run.evaluate_test or self.rank:
            return
        with self.sgd.averaged_weights():
            score = self._score(self.corpus.test)
        self.report("test", {f"test_{name}": value for name, value in score.items()})
        if not self.diverged:
            logger.info("test perplexity %.2f", score["perplexity"])

    def summary(self) -> dict[str, str | int | float]:
        """The cell in words, and what it costs."""
        size = size_of(self.settings, len(self.corpus.vocabulary))
        return {
            "architecture": str(self.genotype),
            "genotype": self.genotype.to_text(),
            "parameters": sum(parameter.numel() for parameter in self.net.parameters()),
            "macs": size.macs,
            "corpus": self.corpus.name,
        }

    def files(self) -> dict[str, Any]:
        """The genotype, and the scores of random cells if there are any."""
        scores = {"architectures.json": self.scores} if self.scores else {}
        return {"genotype.json": self.genotype.to_json(), **scores}

    def portable(self) -> Portable:
        """With the averaged weights, if there are any."""
        with self.sgd.averaged_weights():
            return portable(self.net, self.corpus.valid, self.corpus.vocabulary)

    def on_warm_start(self) -> None:
        """Begin with the weights that the other trial was evaluated with; averaging starts when this one's time comes."""
        self.sgd.restart()

    def rank_state(self) -> dict[str, Any]:
        """The hidden state of the own columns and what the epoch has summed."""
        return {"hidden": to_cpu(self.hidden), "sums": self.train_means.totals()}

    def load_rank_states(self, states: list[dict[str, Any]]) -> None:
        """Join the columns of all processes that there were and take the own ones."""
        if not states:
            return
        layers = zip(*(state["hidden"] for state in states), strict=True)
        self.hidden = [torch.cat(parts)[self.shard].to(self.context.device) for parts in layers]
        self.train_means.start()
        if self.rank == 0:
            for state in states:
                self.train_means.add(state["sums"])

    def shared_state(self) -> dict[str, Any]:
        """The validation losses so far; whether weights are averaged is in the optimiser's state."""
        return {"losses": self.losses, "scores": self.scores}

    def load_shared_state(self, state: dict[str, Any]) -> None:
        """The inverse of `shared_state`."""
        self.losses, self.scores = list(state["losses"]), list(state["scores"])


def _metrics(means: dict[str, float]) -> dict[str, float]:
    return {"loss": means["loss"], "perplexity": perplexity(means["loss"])}


if __name__ == "__main__":
    sys.exit(main("model_def:RecurrentTrial"))
