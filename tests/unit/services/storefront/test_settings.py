import pytest

from grpcmesh.config import ConfigError
from grpcmesh.http import Proxies
from services.storefront.settings import Settings


def test_the_defaults_are_pinned() -> None:
    assert Settings.from_env({}) == Settings("127.0.0.1", 8080, "", False)


def test_settings_are_read() -> None:
    given = {
        "MESHMART_HTTP_ADDRESS": "[::1]:80",
        "MESHMART_TRACES_URL": "http://t/",
        "MESHMART_SECURE_COOKIES": "true",
        "MESHMART_DEMO_USERS": "true",
        "MESHMART_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
        "MESHMART_NARROW_TOKENS": "false",
    }
    proxies = Proxies.of(["10.0.0.0/8", "192.0.2.1"])
    assert Settings.from_env(given) == Settings(
        "::1", 80, "http://t", True, True, proxies, narrow_tokens=False
    )


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {
        "MESHMART_HTTP_ADDRESS": "8080",
        "MESHMART_TRACES_URL": "javascript:alert(1)",
        "MESHMART_SECURE_COOKIES": "si",
        "MESHMART_DEMO_USERS": "perhaps",
        "MESHMART_NARROW_TOKENS": "1",
        "MESHMART_TRUSTED_PROXIES": "10.0.0.0/8, everybody",
    }
    with pytest.raises(ConfigError) as e:
        Settings.from_env(wrong)
    assert [p.partition("=")[0] for p in e.value.problems] == list(wrong)
