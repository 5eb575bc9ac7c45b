"""URLs of identity providers: what is refused, and what of them is never shown."""

import pytest

from grpcmesh.auth.https import Address
from grpcmesh.auth.sources import source_of
from grpcmesh.commands import config as command
from grpcmesh.config import AuthConfig, ConfigError, IdentityConfig, MeshConfig
from grpcmesh.settings import settings
from grpcmesh.urls import without_secrets

BAD = [
    "http://id.example", "id.example", "https://", "https:///realms", "https://user:s3cret@id.example",
    "https://id.example:port", "https://id.example:70000", "https://id.example:0", "https://id..example",
    f"https://{'a' * 64}.example", f"https://id.example/{'a' * 2048}", "https://[::1", "https://id.exämple",
    "https://id.example/a b", "https://id.example/\n",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD, ids=lambda url: ascii(url)[:40])
def test_what_the_fetcher_refuses_the_settings_refuse(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|host|user name|port|IPv6"):
        Address.parse(url)
    with pytest.raises(ConfigError, match=r"^auth\.issuers: corp=") as issuers:
        AuthConfig(audience="shop", issuers={"corp": url})
    with pytest.raises(ConfigError, match=r"^auth\.jwks: corp="):
        AuthConfig(audience="shop", issuers={"corp": "https://id.example"}, jwks={"corp": url})
    assert "s3cret" not in str(issuers.value)
    assert "\n" not in str(issuers.value)


@pytest.mark.parametrize("url", ["https://id.example", "https://id.example:8443/a?b=c", "https://[::1]:1/x"])
def test_what_the_settings_accept_has_a_source(url: str) -> None:
    config = AuthConfig(audience="shop", issuers={"corp": "https://id.example"}, jwks={"corp": url})
    assert source_of(config, "corp").fresh_for  # type: ignore[union-attr]


def test_a_mistake_names_the_variable() -> None:
    with pytest.raises(ConfigError) as raised:
        MeshConfig.from_env({"MESH_AUTH_ISSUERS": "corp=http://id.example"}, service="ping")
    assert raised.value.problems[0].startswith("MESH_AUTH_ISSUERS: corp='http://id.example': ")


@pytest.mark.parametrize("domain", ["", " ", "Example.org", "a/b", "a:1", "exämple", "x" * 256, "a\n"])
def test_a_trust_domain_is_as_the_standard_says(domain: str) -> None:
    with pytest.raises(ConfigError, match=r"^identity\.trust_domain: "):
        IdentityConfig(trust_domain=domain)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:s3cret@h/a?key=s3cret", "https://[redacted]@h/a?[redacted]"),
        ("a=https://h/a?key=s3cret,b=https://h/b", "a=https://h/a?[redacted],b=https://h/b"),
        ("'https://h/a?key=s3cret': is wrong?", "'https://h/a?[redacted]': is wrong?"),
        ("http://h:4317", "http://h:4317"),
    ],
)
def test_users_passwords_and_queries_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


SECRET = "https://user:s3cret@id.example/keys?s3cret"


def test_no_variable_makes_the_command_print_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    # Whatever the command does with it, accepted or refused: the value is of a wrong form for most of them.
    paths = ("_FILE", "_DIRECTORY", "_BUNDLE", "_CONF")
    names = [s.name for s in settings(MeshConfig("ping")) if not s.name.endswith(paths)]
    for variable in names:
        for value in (SECRET, f"corp={SECRET}", f"corp={SECRET},partner"):
            command.main([], {variable: value})
            told = capsys.readouterr()
            assert "s3cret" not in told.out + told.err, (variable, value)


@pytest.mark.parametrize("variable", ["MESH_CHANNEL_OPTIONS", "MESH_SERVER_OPTIONS"])
@pytest.mark.parametrize("rest", ["", ",not a pair", ",*:"])
def test_channel_arguments_that_are_secret_are_not_printed(
    capsys: pytest.CaptureFixture[str], variable: str, rest: str
) -> None:
    command.main([], {variable: f"grpc.api_key=s3cret{rest}"})
    told = capsys.readouterr()
    assert variable in told.out + told.err
    assert "s3cret" not in told.out + told.err


def test_a_wrong_value_is_told_in_one_short_line() -> None:
    for name in ("MESH_DRAIN_DELAY", "MESH_RESOLVER_PORT", "MESH_HEALTH_WATCH", "MESH_AUTH_ISSUERS"):
        for value in ("x" * 10_000_000, "9" * 10_000_000, "\n\x1b[31m", "\udcff"):
            with pytest.raises(ConfigError) as raised:
                MeshConfig.from_env({name: value}, service="ping")
            assert all(name in line for line in raised.value.problems)
            assert len(str(raised.value)) < 1000
            assert str(raised.value).isprintable()
