import pytest

from grpcmesh.config import ConfigError
from services.storefront.settings import Settings


def test_the_defaults_are_pinned() -> None:
    assert Settings.from_env({}) == Settings("127.0.0.1", 8080, "", False)


def test_settings_are_read() -> None:
    given = {
        "MESHMART_HTTP_ADDRESS": "[::1]:80",
        "MESHMART_TRACES_URL": "http://t/",
        "MESHMART_SECURE_COOKIES": "true",
    }
    assert Settings.from_env(given) == Settings("::1", 80, "http://t", True)


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {
        "MESHMART_HTTP_ADDRESS": "8080",
        "MESHMART_TRACES_URL": "javascript:alert(1)",
        "MESHMART_SECURE_COOKIES": "si",
    }
    with pytest.raises(ConfigError) as e:
        Settings.from_env(wrong)
    assert [p.partition("=")[0] for p in e.value.problems] == list(wrong)
