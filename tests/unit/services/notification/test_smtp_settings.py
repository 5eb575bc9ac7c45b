from email.headerregistry import Address
from pathlib import Path

import pytest

from grpcmesh.config import ConfigError
from services.notification.smtp import Settings

GIVEN = {"MESHMART_SMTP_HOST": "mail.example.com", "MESHMART_SMTP_FROM": "Meshmart <shop@example.com>"}


def test_no_mail_system_unless_one_is_named() -> None:
    assert Settings.from_env({"MESHMART_SMTP_FROM": "x", "MESHMART_SMTP_TLS": "x"}) is None


def test_starttls_is_the_default_and_ports_follow_it() -> None:
    sender = Address("Meshmart", "shop", "example.com")
    assert Settings.from_env(GIVEN) == Settings("mail.example.com", 587, sender)
    for tls, port in (("tls", 465), ("none", 25)):
        settings = Settings.from_env(GIVEN | {"MESHMART_SMTP_TLS": tls})
        assert settings
        assert settings.port == port
    secret = {"MESHMART_SMTP_USER": "shop", "MESHMART_SMTP_PASSWORD_FILE": "/run/password"}
    settings = Settings.from_env(GIVEN | secret | {"MESHMART_SMTP_CA_FILE": "/ca.crt"})
    assert settings
    assert (settings.password_file, settings.ca_file) == (Path("/run/password"), Path("/ca.crt"))


def test_without_certificate_authorities_a_file_of_them_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notification.smtp.system_authorities", lambda: False)
    with pytest.raises(ConfigError, match="MESHMART_SMTP_CA_FILE"):
        Settings.from_env(GIVEN)
    assert Settings.from_env(GIVEN | {"MESHMART_SMTP_CA_FILE": "/ca.crt"})
    assert Settings.from_env(GIVEN | {"MESHMART_SMTP_TLS": "none"})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"FROM": ""}, "FROM"),
        ({"FROM": "nobody"}, "FROM"),
        ({"FROM": "a@b.cc\r\nBcc: x@y.zz"}, "FROM"),
        ({"FROM": "@"}, "FROM"),
        ({"TLS": "maybe"}, "TLS"),
        ({"PORT": "0"}, "PORT"),
        ({"PORT": "65536"}, "PORT"),
        ({"PORT": "²"}, "PORT"),
        ({"USER": "shop"}, "USER"),
        ({"PASSWORD_FILE": "/run/password"}, "USER"),
        ({"USER": "shop", "PASSWORD_FILE": "/run/password", "TLS": "none"}, "TLS"),
    ],
)
def test_each_bad_variable_is_told(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=f"MESHMART_SMTP_{named}"):
        Settings.from_env(GIVEN | {f"MESHMART_SMTP_{name}": value for name, value in changes.items()})
