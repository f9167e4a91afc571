"""What the local engine and its trials agree on, for the engine cannot import the trial's side without torch."""

KEY = "NAS_ENGINE_KEY"
"""Environment variable with the secret of the engine's socket, in hexadecimal."""

LEAVE = {"leave": True}
"""The engine's request for a checkpoint and an end, which a trial of several processes gets in place of a signal."""

SAYS = {
    "started": {"trial", "pid"},
    "threads": {"count"},
    "note": {"text"},
    "progress": {"batches", "total"},
    "validation": {"metrics"},
    "ended": {"outcome", "errors"},
}
"""What a trial says, and what comes with it; whoever says anything else is no trial."""
