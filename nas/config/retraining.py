"""What the config of a retraining says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABEL = "retraining"


def about_retraining(config: Mapping[str, Any], search: str) -> dict[str, Any]:
    """Name, description and labels of a config that trains the best of a search once more.

    Args:
        config: what it is made from; its labels say which space and data.
        search: the search's name.
    """
    labels = dict.fromkeys([*(config.get("labels") or []), LABEL])
    return {"name": f"{search}-best", "description": f"Retrains the best of {search}", "labels": [*labels]}
