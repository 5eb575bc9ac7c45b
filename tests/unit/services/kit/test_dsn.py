"""What a URL cannot mean is told when a process starts, by the name of the parameter."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from grpcmesh.ca import CertificateAuthority
from grpcmesh.config import ConfigError
from services.kit import dsn_tls
from services.kit.db import Database
from services.kit.dsn import Dsn, parse

URL = "postgresql://shop:s3cret@db.test/shop"


def _parsed(query: str, environ: Mapping[str, str] | None = None) -> Dsn:
    return parse(make_url(f"{URL}?{query}"), environ or {})


@pytest.mark.parametrize(
    "name",
    [
        "application_name",
        "async_fallback",
        "command_timeout",
        "connect_timeout",
        "dsn",
        "gssencmode",
        "loop",
        "options",
        "server_settings",
        "service",
        "sslmod",
        "statement_cache_size",
        "timeout",
    ],
)
def test_a_parameter_that_there_is_not_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{name}: there is no such parameter; there are .*sslmode"
    ) as refused:
        _parsed(f"{name}=s3cret")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sslmode=disable&sslmode=verify-full", "sslmode: must be there only once"),
        ("pool_size=٣", "pool_size='٣': must be from 1 to 100"),
        ("target_session_attrs=writable", "target_session_attrs='writable': must be one of any, read-write"),
        ("channel_binding=require", "channel_binding: the driver cannot bind"),
        ("port=abc", "host, port: .*abc"),
        ("host=one:5432&host=two", "host, port: "),
        ("ssl_min_protocol_version=TLSv1.9", "ssl_min_protocol_version='TLSv1.9': must be one of TLSv1,"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "must not be above"),
        ("sslnegotiation=now", "sslnegotiation='now': must be one of postgres, direct"),
        (
            "sslnegotiation=direct",
            "sslnegotiation=direct needs sslmode=require or a stronger one, not prefer",
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused(query: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        _parsed(query)


@pytest.mark.parametrize("rest", ["db.test:1,other.test:2/shop", "db.test:s3/shop"])
def test_what_is_no_url_is_refused_without_being_repeated(rest: str) -> None:
    with pytest.raises(ConfigError, match="must be sqlite:///PATH or postgresql://") as refused:
        Database(f"postgresql://shop:s3cret@{rest}", "shop")
    assert "s3" not in str(refused.value)


def test_a_login_may_be_given_as_parameters_and_is_no_less_hidden() -> None:
    told = parse(make_url("postgresql:///shop?host=db.test&user=shop&password=s3cret"), {})
    assert (told.url.username, told.url.password) == ("shop", "s3cret")
    assert "s3cret" not in f"{told.url} {told.url.query}"


def test_several_servers_may_be_given() -> None:
    told = _parsed("target_session_attrs=read-write&host=one:5432&host=two:5433&channel_binding=prefer")
    _, options = told.url.get_dialect()().create_connect_args(told.url)
    assert (list(options["host"]), list(options["port"])) == (["one", "two"], [5432, 5433])
    assert options["target_session_attrs"] == "read-write"
    assert "channel_binding" not in options


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate with its key, another key, and what is neither; the system's authorities."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(dsn_tls, "system_authorities", lambda: str(tmp_path / "ca.crt"))
    ca = CertificateAuthority()
    files = {
        "ca.crt": ca.pem,
        "junk": b"no certificate\n",
        "empty": b"",
        "other.key": _key(ca.issue("b").files()),
    }
    for name, data in {**files, **ca.issue("a").files()}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def _key(files: Mapping[str, bytes]) -> bytes:
    return files["tls.key"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sslmode=verify-full&sslrootcert={}/junk", "sslrootcert='.*/junk': cannot be used"),
        ("sslmode=verify-full&sslrootcert={}/empty", "sslrootcert='.*/empty': cannot be used"),
        ("sslmode=verify-full&sslrootcert={}/tls.key", "sslrootcert='.*/tls.key': cannot be used"),
        ("sslmode=verify-ca&sslrootcert={0}/ca.crt&sslcrl={0}/junk", "sslcrl='.*/junk': cannot be used"),
        ("sslmode=require&sslcert={}/tls.crt", "sslcert='.*/tls.crt', sslkey='': cannot be used"),
        ("sslmode=require&sslcert={0}/tls.crt&sslkey={0}/other.key", "KEY_VALUES_MISMATCH"),
        ("sslmode=require&sslcert={0}/tls.crt&sslkey={0}/junk&sslpassword=s3cret", "sslkey='.*/junk'"),
        ("sslcert={0}/junk&sslkey={0}/tls.key", "sslcert='.*/junk'"),
    ],
)
def test_a_file_that_the_driver_could_not_use_is_refused(files: Path, query: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        _parsed(query.format(files))
    assert "s3cret" not in str(refused.value)


def test_files_that_can_be_used_are_taken(files: Path) -> None:
    _parsed(f"sslmode=verify-full&sslrootcert={files}/ca.crt&sslcert={files}/tls.crt&sslkey={files}/tls.key")
    _parsed(f"sslmode=disable&sslcert={files}/junk&sslkey={files}/junk")  # which nobody reads


@pytest.mark.parametrize("environ", [{}, {"PGSSLROOTCERT": "system"}])
def test_the_systems_authorities_are_good_for_a_checked_name_only(
    files: Path, environ: dict[str, str]
) -> None:
    query = "" if environ else "sslrootcert=system"
    assert _parsed(query, environ).tls == {"sslmode": "verify-full", "sslrootcert": f"{files}/ca.crt"}
    for mode in ("disable", "allow", "prefer", "require", "verify-ca"):
        with pytest.raises(ConfigError, match=f"sslrootcert=system needs sslmode=verify-full, not {mode}"):
            _parsed(f"{query}&sslmode={mode}", environ)
        with pytest.raises(ConfigError, match="needs sslmode=verify-full"):
            _parsed(query, {**environ, "PGSSLMODE": mode})


def test_the_mode_may_come_from_the_environment(files: Path) -> None:
    with pytest.raises(ConfigError, match="sslmode='yes': must be one of"):
        _parsed("", {"PGSSLMODE": "yes"})
    with pytest.raises(ConfigError, match="sslmode=verify-full needs the certificate of the server's CA"):
        _parsed("", {"PGSSLMODE": "verify-full"})
    with pytest.raises(ConfigError, match=r"sslrootcert='.*/junk': cannot be used"):
        _parsed(f"sslrootcert={files}/junk", {"PGSSLMODE": "require"})
