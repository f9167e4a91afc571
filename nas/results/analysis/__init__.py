"""What the states of a search's controller say of the cells that it draws.

- `findings.py`: distances between states against what cells have in common, with Mantel tests.
- `text.py`: the same in the terminal, as Markdown, CSV and JSON.
- `figures.py`: pictures. `write.py`: all files of a folder.
"""
