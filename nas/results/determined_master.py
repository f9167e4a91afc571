"""A Determined master to ask: found and logged in to as `det` does it, with limits on waiting, and errors in sentences."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError

logger = logging.getLogger(__name__)

TESTED = "0.38.1"
FIRST_ANSWER = 5
"""Seconds in which a master that is there says so."""
PATIENCE = 60
"""Seconds to wait for any other answer, and between the parts of a long one."""
RETRIES = 1

_ADDRESS = re.compile(r"(https?://\S+?)/det/(?:experiments|searches)/([0-9]+)(?:[/?#].*)?")
_VARIABLE = "DET_MASTER says which master is asked"


def find_experiment(reference: str) -> tuple[str | None, int] | None:
    """Which master (None for the one that `det` would ask) and which experiment `17` or the address of a web page means.

    None if it is neither.
    """
    if re.fullmatch(r"[0-9]+", reference):
        return None, int(reference)
    found = _ADDRESS.fullmatch(reference)
    return (found[1], int(found[2])) if found else None


@dataclass(frozen=True)
class Master:
    """A master and a session on it. `ask` turns what can go wrong into a ConfigError with one sentence."""

    url: str
    session: Any

    def ask(self, what: str, call: Callable[..., Any], **arguments: Any) -> Any:
        """What a call of `determined.common.api.bindings` returns; `what` names what it is about, such as `experiment 17`."""
        with _in_sentences(self.url, self.session.username, what):
            return call(self.session, **arguments)

    def ask_all(self, what: str, call: Callable[..., Any], **arguments: Any) -> list[Any]:
        """The same for a call whose answer comes in parts."""
        with _in_sentences(self.url, self.session.username, what):
            return list(call(self.session, **arguments))


@contextmanager
def connected(master: str | None = None) -> Iterator[Master]:
    """Log in to a master, by its address or the one that `det` would ask: DET_MASTER, DET_USER and DET_PASS, `det user login`.

    Raises:
        ConfigError: if there is none, or it does not know the user.
    """
    from determined.common import api
    from determined.common.api import authentication, certs

    try:
        url = str(api.canonicalize_master_url(master or api.get_default_master_url()))
    except ValueError as error:
        raise ConfigError([f"{error}; {_VARIABLE}"]) from error
    with _in_sentences(url, "", "", first=True):
        certificate = certs.default_load(url)
        about = api.UnauthSession(url, certificate, max_retries=0).get("api/v1/master", timeout=FIRST_ANSWER).json()
        version = str(about["version"])
    if version != TESTED:
        logger.warning("%s is a Determined %s; results are read as those of %s", url, version, TESTED)
    with _in_sentences(url, "", "", login=True):
        found = authentication.login_with_cache(url, cert=certificate)
    with _patient_session()(url, found.username, found.token, certificate, max_retries=RETRIES) as session:
        yield Master(url, session)


def _patient_session() -> Any:
    """A class: the bindings know no time limit, so a session has to."""
    from determined.common import api

    class PatientSession(api.Session):  # type: ignore[misc]
        def _do_request(
            self, method: str, path: str, params: Any, json: Any, data: Any, headers: Any, timeout: Any, stream: bool
        ) -> Any:
            return super()._do_request(method, path, params, json, data, headers, timeout or PATIENCE, stream)

    return PatientSession


@contextmanager
def _in_sentences(url: str, user: str, what: str, *, first: bool = False, login: bool = False) -> Iterator[None]:
    """Turn an error of the SDK within the block into a ConfigError.

    Args:
        user: who asks.
        what: what is asked for.
        first: nobody knows yet whether there is a master at all.
        login: this is about who asks.
    """
    import requests
    from determined.common.api import bindings, errors

    try:
        yield
    except errors.MasterNotFoundException as error:
        raise _failed(f"no Determined master answers at {url}", error, f"; {_VARIABLE}") from error
    except requests.exceptions.SSLError as error:
        hint = "; DET_MASTER_CERT_FILE names a file with its certificate"
        raise _failed(f"the certificate of {url} cannot be verified", error, hint) from error
    except (errors.UnauthenticatedException, EOFError) as error:
        raise ConfigError(
            [f"{url} wants to know who asks; log in with det user login, or set DET_USER and DET_PASS"]
        ) from error
    except errors.ForbiddenException as error:
        if login:
            hint = "; check DET_USER and DET_PASS, or log in with det user login"
            raise _failed(f"{url} refuses the user or the password", error, hint) from error
        raise _failed(f"{user} may not see {what} at {url}", error) from error
    except errors.NotFoundException as error:
        if first:
            raise ConfigError([f"what answers at {url} is no Determined master; {_VARIABLE}"]) from error
        raise ConfigError([f"there is no {what} at {url}, or {user} may not see it; {_VARIABLE}"]) from error
    except (bindings.APIHttpError, errors.BadRequestException, errors.BadResponseException) as error:
        raise _failed(f"{url} gave no answer{f' about {what}' if what else ''}", error) from error
    except (errors.CorruptTokenCacheException, errors.CorruptCertificateCacheException) as error:
        raise ConfigError([" ".join(str(error).split())]) from error
    except (KeyError, TypeError, ValueError, AssertionError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        if first:
            raise ConfigError([f"what answers at {url} is no Determined master; {_VARIABLE}"]) from error
        told = f"{url} answered in a form that Determined {TESTED} does not know"
        raise _failed(told, f"{type(error).__name__} {error}") from error
    except requests.exceptions.RequestException as error:  # in the middle of an answer
        raise _failed(f"{url} broke off its answer{f' about {what}' if what else ''}", error) from error


def _failed(what: str, error: object, hint: str = "") -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError([f"{what} ({reason if len(reason) <= 300 else reason[:297] + '...'}){hint}"])
