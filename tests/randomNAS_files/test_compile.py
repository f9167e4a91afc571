"""The plain model's forward pass is one graph, which compilers and graph capture need."""

from __future__ import annotations

import sys

import pytest
import torch
from support.recurrent import BATCH, CELLS, build, masks_of, tokens
from support.torch_version import OLD_COMPILER

from randomNAS_files.architecture import sample
from randomNAS_files.model import LanguageModel

dynamo = pytest.importorskip("torch._dynamo")
RATES = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}


def supported() -> bool:
    """Whether this torch compiles with this Python."""
    try:
        torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1))
    except RuntimeError:
        return False
    return True


pytestmark = pytest.mark.skipif(not supported(), reason=f"torch {torch.__version__} compiles nothing on {sys.version}")


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    dynamo.reset()


def model(name: str, depth: int) -> LanguageModel:
    net = build(CELLS[name], depth, **RATES)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    return net


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ["DARTS_V2", "with_none"])
def test_a_training_step_is_one_graph_that_computes_the_same(name: str, depth: int) -> None:
    net, words = model(name, depth), tokens()
    masks, hidden = masks_of(net), net.initial_state(BATCH)
    compiled = torch.compile(net, backend="eager", fullgraph=True)  # fullgraph: a graph break is an error
    found = []
    for form in (net, compiled):
        output = form(words, hidden, masks, targets=words)
        found.append([output.loss, output.dropped, *torch.autograd.grad(output.loss, [net.embedding])])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(OLD_COMPILER, reason="its compiler breaks at the constructor of masks")
def test_no_graph_breaks_with_and_without_masks_and_with_another_genotype() -> None:
    net, words = model("ASHA", 1), tokens()
    hidden = net.initial_state(BATCH)
    for masks, genotype in ((None, None), (masks_of(net), None), (masks_of(net), sample(3))):
        dynamo.reset()
        explained = dynamo.explain(net)(words, hidden, masks, genotype=genotype, targets=words)
        assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def test_other_masks_do_not_compile_again() -> None:
    net, words = model("ASHA", 1), tokens()
    graphs = list[torch.fx.GraphModule]()

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for step in range(4):
        compiled(words, net.initial_state(BATCH), masks_of(net, step), targets=words)
    assert len(graphs) == 1
