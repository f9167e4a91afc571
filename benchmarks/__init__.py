"""Speed: what a plain implementation takes, what ours takes, and files that keep both.

Each module but those below is a benchmark, `python -m benchmarks.NAME`; `plain_*.py` are the plain implementations.

- `measuring.py`: rows, command line, and the dated files.
- `table.py`: the table of these files in docs/benchmarks.md.
- `peak.py`: the peak of what tensors take.
- `gpu.py`, with its parts in `gpu_parts/`: all that only a GPU can tell, in a few minutes.
"""
