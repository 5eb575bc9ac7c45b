"""docs/configuration.md is what the code says, and names every setting."""

import re

from doctools import configuration
from grpcmesh.config import MeshConfig
from tests.unit.test_public_api import settings


def test_the_page_is_generated_from_the_code() -> None:
    assert configuration.PAGE.read_text() == configuration.page(), "run: python -m doctools.configuration"


def test_the_page_has_a_row_with_a_meaning_for_every_setting() -> None:
    rows = re.findall(r"^\| `(MESH_\w+)` \| .+ \| .* \| .+\. \|$", configuration.PAGE.read_text(), re.M)
    assert rows == list(settings(MeshConfig))


def test_every_concern_has_a_page_that_is_there() -> None:
    folder = configuration.PAGE.parent
    assert [page for page in configuration.PAGES.values() if not (folder / page).exists()] == []
