"""Reads the shared files, once. docs/pages.md says what is in the style sheet."""

from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).parent

#: By the name under which a site serves them: `theme.css` and `icon.svg`.
FILES: Mapping[str, bytes] = {name: (_HERE / name).read_bytes() for name in ("theme.css", "icon.svg")}
