"""The YAML that explains every hyperparameter has them all."""

from __future__ import annotations

import dataclasses
import re

from support.runs import ROOT

from nas.core.run_config import RunConfig
from one_shot.budget_config import BudgetConfig
from one_shot.enas import EnasConfig
from one_shot.gradient_config import GradientConfig
from one_shot.images import ImageSearchConfig
from one_shot.random_search import RandomConfig
from one_shot.settings import SearchConfig
from one_shot.text_rules import TextSearchConfig
from one_shot.within import NAMES
from randomNAS_files.settings import StreamConfig
from randomNAS_files.supernet import SupernetConfig


def test_it_names_every_field() -> None:
    text = (ROOT / "one_shot" / "const.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"^  (?:# )?(\w+):", text, re.MULTILINE))
    groups = (RunConfig, SearchConfig, GradientConfig, RandomConfig, EnasConfig, ImageSearchConfig, SupernetConfig)
    groups += (BudgetConfig,)
    fields = {each.name for group in groups for each in dataclasses.fields(group)}
    fields |= {each.name for each in set(dataclasses.fields(TextSearchConfig)) - set(dataclasses.fields(StreamConfig))}
    fields |= set(NAMES)
    assert fields - named == {
        "evaluate_test",
        "repeat",
        "paired_repeats",
    }  # which are refused, and nothing to set
