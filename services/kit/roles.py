"""A login role of its own for each service on PostgreSQL, created by the migration job.

The migration role owns schemas, tables and everything else. A service's role may read and write the rows of
its own schema: it can neither change what is defined there nor see another service's schema. Its name and
password come from the URL that the service gets (a Secret), so a new name and password in that URL become a
new role at the next run. Roles belong to the server, not to a database: two shops on one server need
different names.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from grpcmesh.config import ConfigError
from services.kit.db import Database

#: The variable that names a directory with one file per service that gets a role. The file holds its URL.
DIRECTORY = "MESHMART_DATABASE_ROLES_DIR"
#: PostgreSQL's own parameters for a new password (https://www.rfc-editor.org/rfc/rfc7677).
_ITERATIONS, _SALT = 4096, 16
_MAX_NAME = 63
#: Seconds to wait for the migrations of another service, which grant rights in the same database.
_WAIT = 60


@dataclass(frozen=True, slots=True)
class Role:
    """The login role of a service."""

    name: str
    password: str = field(repr=False)


def roles_from(environ: Mapping[str, str]) -> dict[str, Role]:
    """Return the roles to create, by service; none if `DIRECTORY` is not set.

    Raises:
        ConfigError: a file holds no URL with a user and a password.
    """
    directory = environ.get(DIRECTORY, "")
    if not directory:
        return {}
    found = sorted(path for path in Path(directory).iterdir() if path.is_file())
    return {path.name: _role(path) for path in found}


def _role(path: Path) -> Role:
    try:
        url = make_url(path.read_text(encoding="utf-8").strip())
    except (ArgumentError, OSError, ValueError):  # the text of the first may hold the password
        raise ConfigError([f"{path}: must hold postgresql://USER:PASSWORD@…"]) from None
    name, password = url.username or "", str(url.password or "")
    if not name or not password or not password.isascii() or len(name.encode()) > _MAX_NAME:
        raise ConfigError([f"{path}: must name a user of at most {_MAX_NAME} bytes, and an ASCII password"])
    return Role(name, password)


async def make(db: Database, role: Role) -> None:
    """Create the role or set its password anew, and grant it the use of the service's tables and nothing
    else.

    Args:
        db: The service's database, logged in as the owner of its tables, who may create roles.
        role: The role.

    Raises:
        ConfigError: the owner may not create roles, or the service's role is the owner itself.
    """

    def grant(c: Connection) -> None:
        # PostgreSQL refuses two changes of a database's rights at once. The wait holds up nobody else.
        c.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}s'")
        c.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('meshmart roles'))")
        exists = c.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :name"), {"name": role.name})
        name, schema = _quoted(role.name), _quoted(db.service)
        if not exists:
            c.exec_driver_sql(f"CREATE ROLE {name}")
        c.exec_driver_sql(f"ALTER ROLE {name} LOGIN PASSWORD '{verifier(role.password)}'")
        for statement in _grants(name, schema):
            c.exec_driver_sql(statement)
        database = _quoted(str(c.scalar(text("SELECT current_database()"))))
        c.exec_driver_sql(f"REVOKE TEMPORARY, CREATE ON DATABASE {database} FROM PUBLIC")
        if c.scalar(text("SELECT to_regclass('audit_log')")) is not None:  # its entries must not change
            c.exec_driver_sql(f"REVOKE UPDATE, DELETE ON {schema}.audit_log FROM {name}")

    if role.name == await db.read(lambda c: c.scalar(text("SELECT current_user"))):
        raise ConfigError([f"{role.name} owns the tables of {db.service}: its role must be another"])
    try:
        await db.write(grant)
    except DBAPIError as e:
        if str(getattr(e.orig, "sqlstate", "")) != "42501":
            raise
        raise ConfigError(
            [
                f"MESHMART_DATABASE_URL: its user may not make the role {role.name}: it needs CREATEROLE, "
                "and has to own the schema"
            ]
        ) from None


def _grants(role: str, schema: str) -> tuple[str, ...]:
    rows = "SELECT, INSERT, UPDATE, DELETE"
    return (
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT {rows} ON ALL TABLES IN SCHEMA {schema} TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        # The service must not change the record of the migrations that have run.
        f"REVOKE ALL ON {schema}.alembic_version FROM {role}",
        # For tables that later migrations create, from the moment of their creation.
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rows} ON TABLES TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role}",
    )


def verifier(password: str, salt: bytes | None = None) -> str:
    """Return PostgreSQL's SCRAM-SHA-256 verifier of a password (RFC 5803).

    With it the password itself appears in no statement, and so in no log of statements.
    """
    salt = os.urandom(_SALT) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{told[0]}${told[1]}:{told[2]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
