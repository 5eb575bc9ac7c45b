"""`python -m services.migrate`: whose tables it migrates."""

import pytest

from services import migrate
from services.manifest import Manifest


def test_the_services_are_those_whose_manifests_say_that_they_store(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = {"parcel": Manifest("parcel", 10, stores=True), "gift": Manifest("gift", 11)}
    monkeypatch.setattr(migrate, "shop", lambda: manifests)
    assert migrate.services_with_tables() == ["parcel"]
