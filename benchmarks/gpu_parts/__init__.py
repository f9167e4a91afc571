"""The parts of `python -m benchmarks.gpu`, each a module whose `items` are measured one after another in a process of its own.

- `task.py`: what such a process is told, and what an item may answer.
- `records.py`: what was measured, one line a result; what is done and what is left.
- `child.py`: the process of a part.
- `running.py`: starts it, and ends it when its time is over.
- `here.py`: the GPU, or why there is none.
- `summary.py`: tables of the records.
- `works.py`: the steps that are compared; `fallbacks.py`: what ran otherwise than it was asked to.
- `split.py`: a checkpoint in files that are small enough to be carried.
"""
