from pathlib import Path

import pytest

from grpcmesh.config import ConfigError
from services.user.logins import Lifetimes
from services.user.settings import Settings


def test_tokens_live_a_quarter_of_an_hour_and_thirty_days_by_default() -> None:
    settings = Settings.from_env({"MESHMART_SIGNING_KEYS_DIR": "/keys"})
    assert settings == Settings(Path("/keys"), Lifetimes(900, 30 * 24 * 3600))


def test_every_bad_variable_is_told_at_once() -> None:
    bad = {"MESHMART_ACCESS_TOKEN_LIFETIME": "soon", "MESHMART_REFRESH_TOKEN_LIFETIME": "0"}
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(bad)
    assert len(caught.value.problems) == 3
