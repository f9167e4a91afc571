"""The folder of a run on this machine (`run_folder.py`), and which of its checkpoints stay (`retention.py`)."""
