"""The text files of a corpus as bytes and as text: UTF-8, or what a byte-order mark says."""

from __future__ import annotations

import codecs
from pathlib import Path

from nas.core.errors import DataError
from nas.core.named_files import check_is_file

_MARKS = (
    *((mark, "utf-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


class CorpusError(DataError, ValueError):
    """A corpus cannot be read or is not what it should be; the message names the file, the reason and what to do."""


def read_text_file(file: Path) -> tuple[str, bytes]:
    """Its name, and its text in UTF-8. Raises CorpusError, DataError or OSError."""
    check_is_file(file)
    data = file.read_bytes()
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            data = decode(str(file), data, encoding).encode()
            break
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise CorpusError(f"{file} is empty; put the text there")
    return str(file), data


def decode(file: str, data: bytes, encoding: str = "utf-8-sig") -> str:
    """The text of a file of that name. Raises CorpusError if it is no text of that encoding."""
    try:
        text = data.decode(encoding)
        if "\0" in text:
            hint = "if it is UTF-16 without a byte-order mark, convert it with: iconv -f utf-16le -t utf8"
            raise CorpusError(f"{file} holds NUL bytes, so it is no text; {hint}")
        return text
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise CorpusError(
                f"{file} begins as {encoding.upper()} and is not: {error.reason}; get it again"
            ) from error
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        what = f"{file} is not UTF-8: byte 0x{byte:02x} in line {line}"
        raise CorpusError(f"{what}; if it is Latin-1, convert it with: iconv -f latin1 -t utf8") from error
