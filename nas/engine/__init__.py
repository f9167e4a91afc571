"""The same YAML on this machine, with the decisions of a Determined 0.38.1 master. The engine never imports torch.

- `command.py`: `nas run`, from arguments to an experiment's folder.
- `engine.py`: the loop: events of trials in, decisions out.
- `record.py`: the experiment as an Optuna study: what was created, reported and decided; nothing else is remembered.
- `searchers.py`: how many trials there should be; `asha.py`, `pruner.py`: which of them stop.
- `workers.py`, `child.py`: processes and devices; `preflight.py`: what torch has to say before; `checkpoints.py`: which stay.
- `screen.py`: what a person sees meanwhile; `closing.py`, `curves.py`, `measured.py`: and at the end.
"""
