"""Recognizes transient database errors, of SQLite and of PostgreSQL."""

import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable

#: Seconds after which the caller may try again.
RETRY_AFTER = 0.1

_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)
#: SQLSTATE: classes, then single states (https://www.postgresql.org/docs/current/errcodes-appendix.html).
#: All of them have rolled the transaction back, so a caller may begin it again.
_POSTGRES = (
    "08",  # connection
    "28",  # the role or password is wrong or is just being changed; see `why_refused`
    "3D000",  # the database is not there (yet)
    "53",  # resources: connections, memory, disk
    "55000",  # the database takes no connections: another one is taking its place (docs/backup.md)
    "57",  # operator: shutdown, starting up, statement timeout
    "25P03",  # idle in a transaction for too long
    "25006",  # read only: a standby, after a switch-over
    "40001",  # serialization
    "40P01",  # deadlock
    "55P03",  # lock timeout
)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn transient errors into Unavailable; leave every other error as it is."""
    try:
        yield
    except ConfigError as e:  # such as a pooler that the URL does not declare
        raise Unavailable("the database cannot be used as it is set up") from e
    except PoolTimeout as e:
        raise Unavailable("the database is busy", RETRY_AFTER) from e
    except IntegrityError:
        raise
    except (DBAPIError, sqlite3.Error) as e:
        if not is_transient(e):
            raise
        raise Unavailable("the database is busy or out of reach", RETRY_AFTER) from e
    except (OSError, TimeoutError) as e:  # of connecting: the driver's own are among the DBAPIErrors
        raise Unavailable("the database is out of reach", RETRY_AFTER) from e


def is_transient(error: DBAPIError | sqlite3.Error) -> bool:
    """Return whether the same operation may succeed shortly."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE  # the low byte is the primary code
    return _sqlstate(original).startswith(_POSTGRES) or _is_no_server(original)


def _is_no_server(original: BaseException | None) -> bool:
    """Return whether no server is what `target_session_attrs` asks for; one may be promoted soon."""
    # By its name: the driver is imported only where PostgreSQL is used.
    return type(getattr(original, "__cause__", None)).__name__ == "TargetServerAttributeNotMatched"


def why_refused(error: BaseException | None) -> str:
    """Return why PostgreSQL refuses the connection, if waiting does not help, else "".

    Reasons are a role or database that does not exist, a certificate that cannot be verified, and a URL that
    lacks a parameter.
    """
    match error:
        case ConfigError():
            return "; ".join(error.problems)
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is refused: {error.verify_message}"
    original = getattr(error, "orig", None)
    return str(original) if _sqlstate(original).startswith(("28", "3D000")) else ""


def may_not(error: DBAPIError) -> bool:
    """Return whether PostgreSQL refuses a statement because the role lacks a right."""
    return _sqlstate(error.orig) == "42501"


def cause_of(error: Unavailable) -> str:
    """Return what the database or the network said, without the statement; "" if it said nothing."""
    cause = error.__cause__
    return str(getattr(cause, "orig", None) or cause or "")


def _sqlstate(error: BaseException | None) -> str:
    return str(getattr(error, "sqlstate", None) or "")
