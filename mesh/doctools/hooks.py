"""Hooks of mkdocs, for what Markdown that GitHub shows cannot have: the changelog of the folder above, links
to files outside the pages, the docstrings in the API reference, and the colours of code.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

MESH = Path(__file__).parents[1]
#: The folder of the pages, in the repository.
FOLDER = "mesh/docs"
#: Pages of the site that lie outside the folder, by their place in the repository.
OUTSIDE = {"mesh/CHANGELOG.md": "changelog.md", "mesh/README.md": "README.md"}
#: A relative link.
BESIDE = re.compile(r"\]\((?!\w+:|#)")
#: A link to a file above the folder.
ABOVE = re.compile(r"\]\((\.\./[^)#\s]+)")
#: Stands where the docstring of a name belongs. GitHub does not show a comment.
NAME = re.compile(r"^<!-- docstring: ([\w.]+) -->$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the changelog, whose links are as seen from the folder above, and the colours of code."""
    text = BESIDE.sub("](../", (MESH / "CHANGELOG.md").read_text()).replace("](../docs/", "](")
    files.append(File.generated(config, "changelog.md", content=text))
    files.append(File.generated(config, "pygments.css", content=HtmlFormatter().get_style_defs(".highlight")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Complete the text of a page before it becomes HTML."""
    markdown = NAME.sub(r"::: \1", markdown)
    return ABOVE.sub(lambda link: f"]({_outside(link[1], config['repo_url'])}", markdown)


def _outside(link: str, repository: str) -> str:
    """Return where the site links to instead of a file above the folder."""
    path = posixpath.normpath(f"{FOLDER}/{link}")
    if path in OUTSIDE:
        return OUTSIDE[path]
    if not (MESH.parent / path).exists():
        raise ValueError(f"{link}: no such file")
    return f"{repository.rstrip('/')}/blob/main/{path}"
