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
from typing import Any

import torch
from determined import pytorch

from data import load_corpus
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.metrics import perplexity
from nas.core.optimizers import at_rate, set_rate
from nas.core.portable import Portable
from nas.core.seeds import torch_generator
from nas.core.space import Size
from nas.trial import DataFacts, ShardedBatchLoader, Trial, WeightedMeans, main
from nas.trial.base import to_cpu
from nas.trial.callbacks import SwapAveragedWeights
from nas.trial.capture import CapturedStep, Step, captures
from nas.trial.metrics import replace_nonfinite
from randomNAS_files import scoring
from randomNAS_files.architecture import Genotype
from randomNAS_files.averaged_sgd import AveragedSGD
from randomNAS_files.corpora import PTB_TOKENS, known_vocabulary
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast import scoring as fast_scoring
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.networks import check_device, language_model
from randomNAS_files.memory import estimate_trial
from randomNAS_files.model import activation_penalty
from randomNAS_files.portable import portable
from randomNAS_files.random_cells import ScoredCell, draw_cells, ranked
from randomNAS_files.scoring import score_slice, score_stream
from randomNAS_files.settings import Settings, read_settings, sized
from randomNAS_files.streams import Streams

logger = logging.getLogger(__name__)


class RecurrentTrial(Trial):
    """One recurrent cell, trained on one corpus."""

    space = "randomNAS_files"

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        data = context.get_experiment_config().get("data") or {}
        self.settings = self.check(context.get_hparams(), data, self.processes)
        check_device(self.settings.gpu, context.device)
        self.seed = self.settings.architecture.training_seed(self.seed)
        self.corpus = load_corpus(self.settings.data)
        self.genotype = self.settings.genotype
        optimizer, tested = self.settings.optimizer, self.settings.run.evaluate_test
        self.streams = Streams(self.corpus.splits, optimizer, self.rank, self.processes, evaluate_test=tested)
        self._build_model()
        self.losses: list[float] = []  # of all validations, for the switch to averaging
        self.scores: list[dict[str, Any]] = []  # of random cells with the trained weights, best first

    def _build_model(self) -> None:
        context, settings = self.context, self.settings
        weights = torch_generator("cpu", self.seed, "weights")
        fast = settings.run.fast_on(context.device)
        self.net = language_model(settings, len(self.corpus.vocabulary), weights, fast)
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
        if isinstance(self.net, FastLanguageModel) and device.type != "cpu":
            self.net.reserve(optimizer.bptt + optimizer.max_seq_length_delta, self.streams.columns)
        self.step: Step = CapturedStep(self._step, self.net, self.sgd, device) if graphs else self._step
        self.hidden = self.net.initial_state(self.streams.columns)
        self.eval_hidden: list[torch.Tensor] = []

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
        return read_settings(hparams, data, processes)

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
        return sized(settings, known_vocabulary(settings.data)[0])

    @classmethod
    def describe_size(cls, settings: Settings) -> str:
        size = cls.network_size(settings)
        return f"{size.parameters:,} parameters, {size.macs:,} MACs a word"

    @classmethod
    def memory(
        cls, settings: Settings, processes: int, global_batch_size: int | None = None, device: str = "meta"
    ) -> MemoryEstimate:
        """See `Trial.memory`."""
        columns = (global_batch_size or settings.optimizer.global_batch_size) // processes
        return estimate_trial(settings, known_vocabulary(settings.data)[0], columns, device)

    @classmethod
    def global_batch_size(cls, settings: Settings) -> int:
        return settings.optimizer.global_batch_size

    def data_parts(self) -> dict[str, DataPart]:
        """The splits that the run reads."""
        return self.corpus.parts(("train", "valid", "test") if self.settings.run.evaluate_test else ("train", "valid"))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        """Slices of random length of this process's columns."""
        return ShardedBatchLoader(self.streams.train, self.streams.training_slices(self.seed))

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        """Slices of bptt words of this process's columns."""
        return ShardedBatchLoader(self.streams.valid, self.streams.validation_slices())

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """One slice: go on from the carried state, step, carry the new state."""
        inputs, targets = batch
        config = self.settings.optimizer
        if index % self.epoch_length == 0:
            self.hidden = self.net.initial_state(inputs.size(1))
            self.train_means.start()
        generator = torch_generator(self.context.device, self.seed, "dropout", index)
        masks = self.net.draw_masks(generator, config.global_batch_size, self.streams.shard)
        rate = config.learning_rate * len(inputs) / config.bptt
        set_rate(self.sgd, rate)
        loss, *self.hidden = self.step(inputs, targets, rate, *self.hidden, *masks.tensors())
        self.train_means.update(targets.numel(), loss=loss)
        return {"lr": config.learning_rate}

    def _step(
        self, inputs: torch.Tensor, targets: torch.Tensor, rate: float | torch.Tensor, *others: Any
    ) -> tuple[torch.Tensor, ...]:
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
        with at_rate(self.sgd, rate):
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
        mine = draw_cells(self.seed, count, len(self.genotype.recurrent))[self.rank :: self.processes]
        with self.sgd.averaged_weights():
            scores = self._score_all([cell.genotype for cell in mine])
        for score in scores:
            replace_nonfinite(score)  # NaN sorts nowhere, and is no JSON
        shares = self.context.distributed.gather(
            [ScoredCell(*cell, score) for cell, score in zip(mine, scores, strict=True)]
        )
        if shares is None:
            return
        cells = ranked(shares)
        self.scores = [{"sample": cell.number, **cell.metrics, "genotype": cell.genotype.to_json()} for cell in cells]
        for place, cell in enumerate(cells, start=1):
            self.report("architectures", {**cell.metrics, "sample": cell.number}, step=place)
        best = cells[0]
        logger.info(
            "best of %d random cells: perplexity %.2f, %s", count, best.metrics["perplexity"], best.genotype.to_text()
        )

    def _score_all(self, cells: list[Genotype]) -> list[dict[str, float]]:
        """Loss and perplexity of each cell on the whole validation stream."""
        losses = self.score_cells(self.net, self.streams.whole("valid"), self.settings.optimizer.bptt, cells)
        return [_metrics({"loss": loss}) for loss in losses]

    def conclude(self) -> None:
        """Score the test split once, with the final weights, if the run says so."""
        if not self.settings.run.evaluate_test or self.rank:
            return
        with self.sgd.averaged_weights():
            loss = score_stream(self.net, self.streams.whole("test"), self.settings.optimizer.bptt)
        score = _metrics({"loss": loss})
        self.report("test", {f"test_{name}": value for name, value in score.items()})
        if not self.diverged:
            logger.info("test perplexity %.2f", score["perplexity"])

    def summary(self) -> dict[str, str | int | float]:
        """The cell in words, and what it costs."""
        size = sized(self.settings, len(self.corpus.vocabulary))
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
        self.hidden = [torch.cat(parts)[self.streams.shard].to(self.context.device) for parts in layers]
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
