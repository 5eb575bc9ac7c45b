"""What unit, integration and e2e tests share: a database of either kind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once
from tests.databases import Maker, PostgresMaker, SqliteMaker
from tests.postgres import Postgres, binaries, throwaway

# No timing as an absolute: machines are shared. Of a library's profile for CI the rest stays.
_THOROUGH = settings(settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", _THOROUGH)
# Outside CI somebody waits for the tests: a quarter of the examples.
settings.register_profile("meshmart", _THOROUGH, max_examples=_THOROUGH.max_examples // 4)
settings.load_profile("thorough" if os.environ.get("CI") else "meshmart")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL: `make test` leaves it to `make test-postgres`."""
    for item in items:
        if isinstance(item, pytest.Function) and _needs_postgres(item):
            item.add_marker(pytest.mark.postgres)


def _needs_postgres(test: pytest.Function) -> bool:
    given = test.callspec.params.values() if hasattr(test, "callspec") else ()
    return "postgres_programs" in test.fixturenames or "postgresql" in given


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The directory of PostgreSQL's programs. Skips where none is installed, but never on CI."""
    programs = binaries()
    if programs is None:
        problem = "PostgreSQL is not installed (no pg_ctl and initdb); on Debian: apt install postgresql"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    return programs


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[Postgres]:
    """A server for the whole run."""
    with throwaway(postgres_programs) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_maker(postgres: Postgres) -> PostgresMaker:
    """For `new_databases`."""
    return PostgresMaker(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Makes databases; whatever asks for this runs once on each kind."""
    if request.param == "sqlite":
        yield SqliteMaker(tmp_path)
        return
    maker: PostgresMaker = request.getfixturevalue("postgres_maker")
    yield maker
    maker.release()
