"""Passwords of URLs appear nowhere."""

from __future__ import annotations

import pytest

from nas.core.secrets import hide_password, password_hint, without_password

SECRET = "s3cr3t"
WITH = {
    f"postgresql://me:{SECRET}@host/db": "postgresql://me@host/db",
    f"postgresql+psycopg2://me:{SECRET}@host:5432/db?sslmode=require": "postgresql+psycopg2://me@host:5432/db?sslmode=require",
    f"mysql+pymysql://me:p%40{SECRET}@[::1]/db": "mysql+pymysql://me@[::1]/db",
    f"postgresql://me:a@{SECRET}@host/db": "postgresql://me@host/db",
    f"postgresql://me:a/{SECRET}@host/db": "postgresql://me@host/db",
    f"postgresql://me:{SECRET}@host/db?options=a@b": "postgresql://me@host/db?options=a@b",
    f"redis://:{SECRET}@host:6379": "redis://host:6379",
    f"postgresql://host/db?user=me&password={SECRET}": "postgresql://host/db?user=me",
    f"postgresql://host/db?password={SECRET}&user=me": "postgresql://host/db?user=me",
    f"postgresql://host/db?PASSWORD={SECRET}": "postgresql://host/db",
    f"mysql://host/db?passwd={SECRET}&a=1": "mysql://host/db?a=1",
}


@pytest.mark.parametrize("url", WITH)
def test_what_is_kept_of_a_url_holds_no_password(url: str) -> None:
    assert without_password(url) == WITH[url]
    assert without_password(WITH[url]) == WITH[url]


@pytest.mark.parametrize(
    "url",
    ["sqlite:////tmp/a:b@c/study.db", "sqlite:///study.db", "postgresql://me@host/db", "postgresql:///db", "foo", ""],
)
def test_a_url_without_a_password_stays_as_it_is(url: str) -> None:
    assert without_password(url) == url == hide_password(url, url)


@pytest.mark.parametrize("url", WITH)
def test_an_error_that_quotes_the_url_or_the_password_hides_it(url: str) -> None:
    secret = next(
        part for part in (f"p@{SECRET}", f"p%40{SECRET}", f"a@{SECRET}", f"a/{SECRET}", SECRET) if part in url
    )
    said = hide_password(f"could not connect to '{url}': the password {secret} is wrong for me", url)
    assert SECRET not in said and "is wrong for me" in said and WITH[url] in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://me:{SECRET}@host/db", "postgresql://me:PASSWORD@host/db, or set PGPASSWORD"),
        ("mysql://me@host/db", "mysql://me:PASSWORD@host/db"),
        ("redis://host:6379", "redis://USER:PASSWORD@host:6379"),
    ],
)
def test_how_to_give_a_password_that_was_not_kept(url: str, shown: str) -> None:
    assert password_hint(url).endswith(shown) and SECRET not in password_hint(url)


def test_a_quoted_password_is_hidden_in_plain_too() -> None:
    url = "postgresql://me:a%2Fb%40c@host/db"
    assert hide_password("no entry for a/b@c, for a%2Fb%40c", url) == "no entry for ***, for ***"
