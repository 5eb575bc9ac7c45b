"""The user service in process, and what its tests share."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ecommerce import common_pb2
from ecommerce import user_pb2 as pb
from ecommerce.user_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server

from grpcmesh.auth import TokenVerifier
from grpcmesh.config import AuthConfig
from local.catalog import AUDIENCE, ISSUER
from services.kit.audit import AuditLog, audited
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import Outcome
from services.kit.tokens import UserKeys
from services.user.accounts import Accounts
from services.user.attempts import SqlAttempts
from services.user.audited_methods import AUDITED
from services.user.domain import User
from services.user.exchanges import Exchanges
from services.user.keys import SigningKeys
from services.user.logins import Lifetimes, Logins
from services.user.outbox_events import RECOVERY
from services.user.passwords import Cost, ScryptPasswords
from services.user.published import Published
from services.user.recovery import Recovery
from services.user.servicer import UserServicer
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.storage import SqlUsers
from services.user.users import Users
from tests.databases import Databases, Maker

from .shopkit import ADMIN, serving

CONFIG = AuthConfig(ISSUER, AUDIENCE)


@dataclass
class Running:
    user: Any = None
    channel: Any = None
    now: float = 1_000.0
    recovery: Any = None
    db: Any = None


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("user")


@pytest.fixture
async def running(tmp_path: Path, databases: Databases) -> AsyncIterator[Running]:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "k1.pem").write_bytes(pem)
    running = Running()
    keys = SigningKeys(tmp_path, CONFIG, lambda: 0.0, lambda: running.now)
    keys.load()
    async with Database.open(databases.url("user"), "user") as db:
        users, passwords = SqlUsers(db), ScryptPasswords(Cost(log2_n=4))
        logins = Logins(
            users, SqlSessions(db), SqlAttempts(db), passwords, keys, lambda: running.now, Lifetimes()
        )
        accounts = Accounts(users, SqlSessions(db), passwords, logins, lambda: running.now, Lifetimes())
        recovering = Recovery(users, SqlSessions(db), SqlAttempts(db), accounts, lambda: running.now)
        published = Published(keys, SqlRevocations(db), lambda: running.now)
        servicer = UserServicer(
            Users(users, passwords),
            logins,
            accounts,
            recovering,
            Exchanges(keys, lambda: running.now),
            published,
            CONFIG.issuer,
        )
        audited(servicer, AuditLog(db, lambda: running.now), AUDITED)
        async with serving(add_UserServiceServicer_to_server, servicer) as channel:
            running.user, running.channel = UserServiceStub(channel), channel
            running.recovery, running.db = recovering, db
            yield running


@pytest.fixture
def user(running: Running) -> Any:
    return running.user


def create(name: str, **kwargs: Any) -> pb.CreateUserRequest:
    return pb.CreateUserRequest(**{"name": name, "email": f"{name}@example.com", **kwargs})


async def verified(running: Running) -> TokenVerifier:
    verifier = TokenVerifier(CONFIG, UserKeys(running.channel), lambda: running.now)
    assert await verifier.refresh()
    return verifier


async def log(user: Any, metadata: Any = ADMIN, **request: Any) -> list[Any]:
    listed = user.ListAuditLog(common_pb2.ListAuditLogRequest(**request), metadata=metadata)
    return [entry async for entry in listed]


class Box:
    """The port `Post`: whoever reads the letters, and what is in them."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, str]] = []

    async def send_code(self, to: User, code: str) -> None:
        self.codes.append((to.email, code))


async def letters(running: Running) -> Box:
    """Delivers what the outbox holds."""
    box = Box()
    for found in await SqlQueue(running.db).take(RECOVERY, running.now + 1, running.now + 9, 100):
        for event in found:
            await running.recovery.send(event.payload["user_id"], box)
            await SqlQueue(running.db).settle(Outcome(delivered=[event]))
    return box
