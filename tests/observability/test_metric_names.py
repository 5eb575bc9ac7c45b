"""Each metric of the library is documented."""

import re
from pathlib import Path

MESH = Path(__file__).parents[2] / "mesh"
#: A metric family's name, as it stands in the code; counters get `_total` when they are exposed.
NAME = re.compile(r'"(mesh_[a-z_]+)"')


def test_every_metric_is_documented() -> None:
    sources = [path.read_text() for path in (MESH / "src").rglob("*.py")]
    names = {name for text in sources for name in NAME.findall(text)}
    assert len(names) > 70
    docs = "\n".join(path.read_text() for path in (MESH / "docs").glob("*.md"))
    assert sorted(name for name in names if not re.search(rf"`{name}(_total)?\b", docs)) == []
