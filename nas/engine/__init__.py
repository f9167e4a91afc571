"""The same YAML on this machine, with the decisions of a Determined 0.38.1 master. The engine never imports torch.

- `experiments.py`: which experiment is meant, and what its trials run.
- `session.py`: one session of it; `engine.py`: its loop: events of trials in, decisions out.
- `study_store.py`: the experiment as an Optuna study: what was created, reported and decided; nothing else is remembered.
- `running.py`, `outcomes.py`: a trial at work, and how it ends.
- `searchers.py`, `asha.py`: how many trials there should be, and which of them stop.
- `workers.py`, `worker_main.py`: processes; `placement.py`: devices; `preflight.py`: what torch has to say before.
- `console.py`, `time_left.py`: what a person sees meanwhile.
"""
