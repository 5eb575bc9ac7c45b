import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from grpcmesh.auth import TokenVerifier
from grpcmesh.config import AuthConfig, ConfigError
from local.catalog import AUDIENCE, ISSUER
from services.user import keys as module
from services.user.domain import Status, User
from services.user.keys import SigningKeys

ALICE = User(1, "alice", "alice@example.com", Status.ACTIVE, 0, ("user", "admin"), 0)
CONFIG = AuthConfig(ISSUER, AUDIENCE)


def write(directory: Path, kid: str, key: PrivateKeyTypes | None = None) -> None:
    pem = (key or Ed25519PrivateKey.generate()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / f"{kid}.pem").write_bytes(pem)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a directory tells nobody when it changes
            await asyncio.sleep(0.005)


class Watched:
    """Keys whose directory is being followed, and a clock that stands still."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.keys = SigningKeys(directory, CONFIG, lambda: self.now)


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.01)
    write(tmp_path, "2026-01")
    watched = Watched(tmp_path)
    watched.keys.load()
    task = asyncio.create_task(watched.keys.watch())
    yield watched
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_is_signed_is_verified_with_what_is_published(watched: Watched) -> None:
    verifier = TokenVerifier(CONFIG, watched.keys)
    await verifier.refresh()
    principal = verifier.verify(watched.keys.issue(ALICE, 60))
    assert (principal.user_id, principal.name, principal.roles) == (1, "alice", frozenset({"user", "admin"}))


async def test_the_newest_by_name_signs_and_all_are_published(tmp_path: Path) -> None:
    for kid in ("b", "c", "a"):
        write(tmp_path, kid)
    keys = SigningKeys(tmp_path, CONFIG, lambda: 0.0)
    keys.load()
    assert keys.signing_kid == "c"
    assert list(keys.published) == ["a", "b", "c"]
    assert jwt.get_unverified_header(keys.issue(ALICE, 60))["kid"] == "c"


async def test_a_new_key_is_published_at_once_and_signs_when_every_verifier_has_it(
    watched: Watched, tmp_path: Path
) -> None:
    write(tmp_path, "2026-02")
    await until(lambda: "2026-02" in watched.keys.published)
    assert watched.keys.signing_kid == "2026-01"
    watched.now += CONFIG.refresh_interval + 5
    assert watched.keys.signing_kid == "2026-02"


async def test_a_key_that_was_taken_away_is_no_longer_published(watched: Watched, tmp_path: Path) -> None:
    write(tmp_path, "2026-02")
    (tmp_path / "2026-01.pem").unlink()
    await until(lambda: list(watched.keys.published) == ["2026-02"])
    assert watched.keys.signing_kid == "2026-02"  # there is no other


async def test_a_half_written_key_changes_nothing_until_it_is_whole(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2026-02.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    await until(lambda: "2026-02.pem is not a private key" in caplog.text)
    assert list(watched.keys.published) == ["2026-01"]
    write(tmp_path, "2026-02")
    await until(lambda: "2026-02" in watched.keys.published)
    assert caplog.text.count("not reloaded") == 1  # told once, not each second


async def test_an_emptied_directory_keeps_the_keys(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2026-01.pem").unlink()
    await until(lambda: "no *.pem file" in caplog.text)
    assert watched.keys.signing_kid == "2026-01"


def test_without_a_usable_key_the_service_does_not_start(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path, CONFIG, lambda: 0.0)
    with pytest.raises(ConfigError, match=r"no \*\.pem"):
        keys.load()
    write(tmp_path, "a", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        keys.load()
