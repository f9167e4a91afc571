"""A report of an experiment: one page that needs no network, the same as Markdown, and its trials as CSV and JSON.

- `content.py`: what the report says. `tables.py`: rows of trials, CSV and JSON. `wording.py`: numbers in words.
- `page.py` with `page.html.j2`: as HTML. `markdown.py`: as Markdown with figures beside it.
- `write.py`: all of it into a folder.
"""

from nas.results.report.write import write_report

__all__ = ["write_report"]
