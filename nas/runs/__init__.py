"""The folder of a run on this machine (`run_folder.py`), and which of its checkpoints stay (`retention.py`).

`ranking.py` says which value is the best, `study_schema.py` and `engine_protocol.py` what the engine, its trials and those who
read results agree on.
"""
