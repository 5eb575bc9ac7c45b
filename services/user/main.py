"""The user service: `python -m services.user.main`."""

import os
import time

from ecommerce.user_pb2_grpc import add_UserServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.kit.audit import AuditLog, audited
from services.kit.db import Database, database_url
from services.kit.outbox import SqlQueue
from services.kit.priorities import PRIORITIES
from services.kit.relay import Relay
from services.user.accounts import Accounts
from services.user.attempts import SqlAttempts
from services.user.audited_methods import AUDITED
from services.user.exchanges import Exchanges
from services.user.keys import SigningKeys
from services.user.logins import SKEW, Logins
from services.user.outbox_events import RECOVERY
from services.user.passwords import ScryptPasswords
from services.user.published import Published
from services.user.receivers import Letters, forgetters
from services.user.recovery import Recovery
from services.user.servicer import UserServicer
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.settings import Settings
from services.user.storage import SqlUsers
from services.user.users import Users


async def build(app: App) -> None:
    """Build the service."""
    settings = Settings.from_env(os.environ)
    keys = SigningKeys(settings.keys, app.config.auth, time.monotonic)
    keys.load()
    app.spawn(keys.watch())
    app.prioritize(PRIORITIES)
    url, tracer = database_url("user", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "user", tracer=tracer))
    app.telemetry.add(db.metrics)
    lifetimes = settings.lifetimes
    users, passwords = SqlUsers(db, time.time, lifetimes.access + SKEW), ScryptPasswords()
    sessions, attempts = SqlSessions(db), SqlAttempts(db)
    logins = Logins(users, sessions, attempts, passwords, keys, time.time, lifetimes)
    accounts = Accounts(users, sessions, passwords, logins, time.time, lifetimes)
    recovery = Recovery(users, sessions, attempts, accounts, time.time)
    receivers = forgetters(app.channel) | {RECOVERY: Letters(app.channel("notification"), recovery)}
    app.telemetry.add(await app.enter(Relay(SqlQueue(db), receivers, time.time)))
    published = Published(keys, SqlRevocations(db), time.time)
    app.use_keys(published)
    parts = Users(users, passwords), logins, accounts, recovery, Exchanges(keys, time.time)
    servicer = UserServicer(*parts, published, app.config.auth.issuer)
    audited(servicer, AuditLog(db), AUDITED)
    add_UserServiceServicer_to_server(servicer, app.server)


if __name__ == "__main__":
    run("user", build)
