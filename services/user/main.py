"""The user service: `python -m services.user.main`."""

import os
import time

from ecommerce.user_pb2_grpc import add_UserServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.kit.audit import AuditLog, audited
from services.kit.db import Database, database_url
from services.kit.priorities import PRIORITIES
from services.user.accounts import Accounts
from services.user.acts import ACTS
from services.user.attempts import SqlAttempts
from services.user.keys import SigningKeys
from services.user.logins import Logins
from services.user.passwords import ScryptPasswords
from services.user.published import Published
from services.user.servicer import UserServicer
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.settings import Settings
from services.user.storage import SqlUsers
from services.user.users import Users


async def build(app: App) -> None:
    """Puts the service together."""
    settings = Settings.from_env(os.environ)
    keys = SigningKeys(settings.keys, app.config.auth, time.monotonic)
    keys.load()
    app.spawn(keys.watch())
    app.prioritize(PRIORITIES)
    db = await app.enter(Database.open(database_url("user", os.environ), "user"))
    users, passwords = SqlUsers(db), ScryptPasswords()
    logins = Logins(users, SqlSessions(db), SqlAttempts(db), passwords, keys, time.time, settings.lifetimes)
    accounts = Accounts(users, SqlSessions(db), passwords, logins, time.time, settings.lifetimes)
    published = Published(keys, SqlRevocations(db), time.time)
    app.use_keys(published)
    servicer = UserServicer(Users(users, passwords), logins, accounts, published, app.config.auth.issuer)
    audited(servicer, AuditLog(db), ACTS)
    add_UserServiceServicer_to_server(servicer, app.server)


if __name__ == "__main__":
    run("user", build)
