"""From an experiment config to a trained trial: laptop, `torchrun`, and a Determined cluster, through one door.

    if __name__ == "__main__":
        sys.exit(main("model_def:RecurrentTrial"))

- `base.py`: `Trial`, the contract that every trial follows; `answers.py`: the part of it that is asked before any data is
  read; `bookkeeping.py`: what a trial has done for it: exact resume, finite metrics, the architecture beside the weights.
- `metrics.py`: means that weigh every sample equally and are read from the device only when they are reported.
- `callbacks.py`: what has to happen around a validation.
- `loader.py`: batches of which each process takes its own part.
- `inspection.py`: what a trial says of a config before anything runs.
- `entry.py`: the command line, and the choice between here and a cluster.
- `cluster.py`: a trial in its container on a cluster; `searcher_stop.py`: it notices that ASHA has stopped it;
  `metadata.py`, `picture.py`: what the web UI shows of its architecture; `user_errors.py`: errors that a user can mend, in
  a sentence.
- `local.py`: one trial on this machine, without a master.
- `determined_private.py`: the private parts of Determined that are used here, checked at import.
- `engine_client.py`: what a trial tells the local engine; `progress.py`: what a person sees; `allocator.py`: freed memory.
"""

from nas.core.run_config import RunConfig
from nas.trial.answers import DataFacts
from nas.trial.base import Trial
from nas.trial.entry import main
from nas.trial.loader import ShardedBatchLoader
from nas.trial.metrics import WeightedMeans

__all__ = ["DataFacts", "RunConfig", "ShardedBatchLoader", "Trial", "WeightedMeans", "main"]
