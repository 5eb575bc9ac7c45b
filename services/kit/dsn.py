"""Parses and checks MESHMART_DATABASE_URL for PostgreSQL when a process starts."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlencode

from sqlalchemy.engine import URL

from grpcmesh.config import ConfigError

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
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: The modes that check the server's certificate and therefore need a root certificate.
_VERIFYING = ("verify-ca", "verify-full")
#: The parameters that name a file, each with the variable that replaces it, as in libpq.
_FILES = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}
#: `sslrootcert=system`, as libpq 16 has it: the certificate authorities of the operating system.
_SYSTEM = "system"

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


def parse(url: URL, environ: Mapping[str, str] = os.environ) -> Dsn:
    """Parse and check a URL.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE&…`.
        environ: PGSSLROOTCERT and so on are used where `sslrootcert` and so on are missing, as in libpq.

    Raises:
        ConfigError: a parameter has a value that cannot work, or names a file that does not exist.
    """
    query = {name: str(value) for name, value in url.query.items()}
    if "ssl" in query:  # asyncpg's name for it
        query.setdefault("sslmode", query.pop("ssl"))
    size = query.pop("pool_size", str(POOL_SIZE))
    pooling = query.pop("pooling", "")
    tls = {name: query.pop(name) for name in _TLS if name in query}
    problems = [*_wrong_numbers(size, pooling), *_wrong_tls(tls, environ)]
    if problems:
        raise ConfigError([f"MESHMART_DATABASE_URL: {problem}" for problem in problems])
    if tls.get("sslrootcert") == _SYSTEM:
        tls["sslrootcert"] = system_authorities()
    chosen = next(p for p in _POOLING if p == pooling)
    return Dsn(url.set(drivername="postgresql+asyncpg", query=query), int(size), tls, chosen)


def _wrong_numbers(size: str, pooling: str) -> list[str]:
    problems = []
    if not size.isdecimal() or not 1 <= int(size) <= MAX_POOL_SIZE:
        problems.append(f"pool_size={size!r}: must be from 1 to {MAX_POOL_SIZE}")
    if pooling not in _POOLING:
        problems.append(f"pooling={pooling!r}: must be session or transaction")
    return problems


def _wrong_tls(tls: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    mode = tls.get("sslmode", "prefer")
    if mode not in _MODES:
        return [f"sslmode={mode!r}: must be one of {', '.join(_MODES)}"]
    named = {name: tls.get(name) or environ.get(variable, "") for name, variable in _FILES.items()}
    problems = [
        f"{name}={path!r}: there is no such file"
        for name, path in named.items()
        if path and path != _SYSTEM and not Path(path).expanduser().is_file()
    ]
    if named["sslrootcert"] == _SYSTEM and not system_authorities():
        problems.append("sslrootcert=system: this system has no certificate authorities; name a file")
    default = Path("~/.postgresql/root.crt").expanduser()
    if mode in _VERIFYING and not named["sslrootcert"] and not default.is_file():
        problems.append(
            f"sslmode={mode} needs the certificate of the server's CA: add sslrootcert=/path/to/ca.crt, "
            "or sslrootcert=system"
        )
    return problems


def system_authorities() -> str:
    """Return the file of this system's certificate authorities; "" if it has none."""
    return ssl.get_default_verify_paths().cafile or ""
