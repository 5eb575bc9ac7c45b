"""Parses and checks MESHMART_DATABASE_URL for PostgreSQL when a process starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from grpcmesh.config import ConfigError
from services.kit import dsn_tls

#: Connections of a process's pool. One more carries notifications where there are any
#: (`services.kit.notifier`), so seven services with three replicas each need 7 x 3 x (3 + 1) = 84 of
#: PostgreSQL's default 100, of which 3 are kept for the superuser: 13 are left for migrations, stand-ins of a
#: rolling restart, and psql.
POOL_SIZE = 3
MAX_POOL_SIZE = 100
#: libpq's parameters that asyncpg knows only in a DSN, not as arguments.
_TLS = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
#: The parameters that may stand more than once, one for each server: the first that answers is used.
_SERVERS = ("host", "port")
#: What libpq calls `target_session_attrs`: which of several servers is used.
_SESSIONS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
#: Further parameters of libpq that are of use here.
_OTHERS = ("user", "password", "passfile", "target_session_attrs", "channel_binding")
_KNOWN = frozenset((*_TLS, *_SERVERS, *_OTHERS, "ssl", "pool_size", "pooling"))

Pooling = Literal["", "session", "transaction"]
_POOLING: Final[tuple[Pooling, ...]] = ("", "session", "transaction")


@dataclass(frozen=True, slots=True)
class Dsn:
    """The connection settings of a PostgreSQL database, for SQLAlchemy and asyncpg."""

    url: URL
    """The URL, without the parameters that the other fields hold."""
    pool_size: int
    """The number of connections in a process's pool."""
    tls: Mapping[str, str]
    """libpq's `ssl…` parameters."""
    pooling: Pooling
    """How a pooler between us and PostgreSQL shares its connections; empty if there is none."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect` beside those in `url`. asyncpg reads the files again for
        each connection.
        """
        dsn = {"dsn": f"postgresql:///?{urlencode(self.tls)}"} if self.tls else {}
        # Without a cache asyncpg uses unnamed statements, each parsed in the message that executes it: the
        # pooler may have given us another connection since the last one.
        return dsn | ({"statement_cache_size": 0} if self.pooling == "transaction" else {})

    @property
    def dialect_arguments(self) -> dict[str, Any]:
        """Return the same for SQLAlchemy's `connect_args`; its dialect has a statement cache of its own."""
        if self.pooling != "transaction":
            return self.arguments
        unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        return self.arguments | unnamed


def url_of(text: str) -> URL:
    """Return the URL of a database, of any kind.

    Raises:
        ConfigError: it is not a URL. The error does not repeat it, because it may hold a password.
    """
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(["MESHMART_DATABASE_URL: must be sqlite:///PATH or postgresql://…"]) from None


def parse(url: URL, environ: Mapping[str, str] = os.environ) -> Dsn:
    """Parse and check a URL.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE&…`.
        environ: PGSSLMODE, PGSSLROOTCERT and so on are used where `sslmode`, `sslrootcert` and so on are
            missing, as in libpq.

    Raises:
        ConfigError: there is no such parameter, or it has a value that cannot work or names a file that
            cannot be used.
    """
    _refuse(_wrong_names(url.query))
    servers = {name: url.query[name] for name in _SERVERS if name in url.query}
    query = {name: str(value) for name, value in url.query.items() if name not in _SERVERS}
    if "ssl" in query:  # asyncpg's name for it
        query.setdefault("sslmode", query.pop("ssl"))
    size = query.pop("pool_size", str(POOL_SIZE))
    pooling = query.pop("pooling", "")
    given = {name: query.pop(name) for name in _TLS if name in query}
    _refuse([*_wrong_values(size, pooling, query), *dsn_tls.problems(given, environ)])
    query.pop("channel_binding", None)
    user, password = query.pop("user", url.username), query.pop("password", url.password)
    url = url.set(
        drivername="postgresql+asyncpg", username=user, password=password, query={**query, **servers}
    )
    _check_servers(url)
    chosen = next(p for p in _POOLING if p == pooling)
    return Dsn(url, int(size), dsn_tls.completed(given, environ), chosen)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError([f"MESHMART_DATABASE_URL: {problem}" for problem in problems])


def _wrong_names(query: Mapping[str, str | tuple[str, ...]]) -> list[str]:
    """Return what is wrong with the parameters' names. asyncpg refuses them only when it connects."""
    known = ", ".join(sorted(_KNOWN))
    problems = [f"{name}: there is no such parameter; there are {known}" for name in query.keys() - _KNOWN]
    repeated = [name for name, value in query.items() if not isinstance(value, str)]
    return problems + [f"{name}: must be there only once" for name in repeated if name not in _SERVERS]


def _wrong_values(size: str, pooling: str, query: Mapping[str, str]) -> list[str]:
    problems = []
    if not (size.isascii() and size.isdecimal()) or not 1 <= int(size) <= MAX_POOL_SIZE:
        problems.append(f"pool_size={size!r}: must be from 1 to {MAX_POOL_SIZE}")
    if pooling not in _POOLING:
        problems.append(f"pooling={pooling!r}: must be session or transaction")
    session = query.get("target_session_attrs", "any")
    if session not in _SESSIONS:
        problems.append(f"target_session_attrs={session!r}: must be one of {', '.join(_SESSIONS)}")
    if query.get("channel_binding") not in (None, "disable", "prefer"):
        problems.append(
            "channel_binding: the driver cannot bind a login to its TLS channel; leave it out, and have "
            "sslmode=verify-full check the server"
        )
    return problems


def _check_servers(url: URL) -> None:
    """Raise ConfigError if `host` and `port` do not fit together."""
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError as e:
        _refuse([f"host, port: {e}"])
