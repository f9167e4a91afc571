"""Passwords in URLs: not printed, and not written down."""

from __future__ import annotations

import re
from urllib.parse import unquote

_USER = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<user>[^:/?#@\s]*):(?P<password>[^@\s]*(?:@[^@/?#\s]*)*)@")
"""A password that was not quoted may hold an @: it ends at the last one before the host ends."""
_QUERY = re.compile(
    r"(?i)(?P<before>[?&;])(?:[\w-]*(?:password|passwd|passphrase|secret|token)|pwd|pass)=(?P<password>[^&;#\s]*)"
)


def without_password(url: str) -> str:
    """A URL without the password in it, such as `postgresql://me@host/db` of `postgresql://me:secret@host/db`.

    This is what may be printed and kept. Who uses it anew gives the password on the command line again, or as the database's
    client reads it from its environment (`PGPASSWORD` and `~/.pgpass` of PostgreSQL, `MYSQL_PWD` of MySQL).
    """
    plain = _USER.sub(lambda match: match["scheme"] + (f"{match['user']}@" if match["user"] else ""), url)
    plain = _QUERY.sub(lambda match: "?" if match["before"] == "?" else "", plain)
    return re.sub(r"\?$", "", re.sub(r"\?[&;]+", "?", plain))


def password_hint(url: str) -> str:
    """How to give the password of a URL that was kept without it; ends a sentence on a database that refused."""
    again = f"its password is not kept: give it with --storage, as in {_with_word(without_password(url))}"
    return f"{again}, or set PGPASSWORD" if url.startswith("postgres") else again


def _with_word(url: str) -> str:
    """Where the password stands in a URL."""
    scheme, mark, rest = url.partition("://")
    user, at, host = rest.partition("@")
    return f"{scheme}{mark}{user or 'USER'}:PASSWORD@{host}" if at else f"{scheme}{mark}USER:PASSWORD@{rest}"


def hide_password(text: str, url: str) -> str:
    """A text that may quote the URL, such as a driver's error, without its password in any form."""
    text = text.replace(url, without_password(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = re.sub(rf"(?<![\w]){re.escape(secret)}(?![\w])", "***", text)
    return text


def driver_reason(error: BaseException, url: str) -> str:
    """What a database's driver says, without SQLAlchemy's text and statement around it, and without the URL's password."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return hide_password(" ".join(str(original).split()), url)[:300]


def _secrets(url: str) -> set[str]:
    """The passwords in a URL, as they are written there and as they are meant."""
    found = [match["password"] for pattern in (_USER, _QUERY) for match in pattern.finditer(url)]
    return {form for each in found if each for form in (each, unquote(each))}
