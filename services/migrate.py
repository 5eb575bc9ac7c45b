"""`python -m services.migrate [SERVICE …]` migrates the tables and seeds them; by default of all services."""

import asyncio
import os
import sys

from grpcmesh.config import ConfigError
from grpcmesh.errors import MeshError
from services.kit.db import database_url
from services.kit.migrate import migrate
from services.kit.roles import roles_from
from services.manifest import shop
from services.user.seed import Seeding


def services_with_tables() -> list[str]:
    """Return the names of all services that store, by their manifests.

    Git leaves the directories of a service that another branch has, because of the caches in them.
    """
    return sorted(name for name, manifest in shop().items() if manifest.stores)


async def _migrate_all(names: list[str]) -> None:
    seeding = {"user": {"seeding": Seeding.from_env(os.environ)}}
    roles = roles_from(os.environ)
    for name in names:
        url, role = database_url(name, os.environ), roles.get(name)
        await migrate(url, name, options=seeding.get(name), role=role)


def main(arguments: list[str]) -> int:
    """Return the exit status: 0, 1 if a database is out of reach, 2 for a wrong name or setting."""
    known = services_with_tables()
    if unknown := [name for name in arguments if name not in known]:
        return _fail(2, f"no such service: {', '.join(unknown)}; there are {', '.join(known)}")
    try:
        asyncio.run(_migrate_all(arguments or known))
    except ConfigError as e:
        return _fail(2, str(e))
    except (MeshError, OSError) as e:
        return _fail(1, str(e))
    return 0


def _fail(status: int, problem: str) -> int:
    sys.stderr.write(f"migrate: {problem}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
