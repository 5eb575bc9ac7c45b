"""The migrations of each service stand in one line."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

SERVICES = Path(__file__).parents[4] / "services"


@pytest.mark.parametrize("migrations", sorted(SERVICES.glob("*/migrations")), ids=lambda p: p.parent.name)
def test_revisions_are_numbered_one_after_the_other(migrations: Path) -> None:
    """Two branches that each add the next number meet here, not in a database."""
    script = ScriptDirectory(str(migrations))
    numbers = [revision.revision for revision in script.walk_revisions()][::-1]
    files = sorted(path.name for path in (migrations / "versions").glob("[0-9]*.py"))
    assert [name[:4] for name in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    assert [number[-4:] for number in numbers] == [name[:4] for name in files]
