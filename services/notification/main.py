"""The notification service: `python -m services.notification.main`."""

import os
import time

from ecommerce.notification_pb2_grpc import add_NotificationServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.kit.audit import AuditLog, audited
from services.kit.background import repeating
from services.kit.db import Database, database_url
from services.kit.follow import stream_max_age
from services.kit.following import following
from services.kit.outbox import SqlQueue
from services.kit.priorities import PRIORITIES
from services.kit.relay import Relay
from services.kit.retention import INTERVAL, kept_for
from services.kit.tokens import UserKeys
from services.notification.audited_methods import AUDITED
from services.notification.inbox import Inbox
from services.notification.mail import INTERVAL as MAIL_INTERVAL
from services.notification.mail import Mail
from services.notification.mail_storage import TOPIC, SqlMail
from services.notification.receivers import Letters
from services.notification.servicer import NotificationServicer
from services.notification.smtp import Settings, SmtpMailer
from services.notification.storage import CHANNEL, SqlStore


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("notification", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "notification", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    inbox = Inbox(SqlStore(db), time.time, stream_max_age(os.environ))
    mail = await _mail(app, db)
    servicer = audited(NotificationServicer(inbox, mail), AuditLog(db), AUDITED)
    add_NotificationServiceServicer_to_server(servicer, app.server)
    await app.enter(following(db, CHANNEL, inbox, int))
    await app.enter(repeating(mail.forget, MAIL_INTERVAL, "forgetting of letters"))
    kept = kept_for(os.environ)
    await app.enter(repeating(lambda: inbox.forget(kept), INTERVAL, "forgetting of notifications"))


async def _mail(app: App, db: Database) -> Mail:
    """Letters: sent where a mail system is named; else they wait for the operator."""
    smtp = Settings.from_env(os.environ)
    if smtp is None:
        return Mail(SqlMail(db), time.time)
    sending = Letters(Mail(SqlMail(db), time.time), SmtpMailer(smtp))
    relay = await app.enter(Relay(SqlQueue(db), {TOPIC: sending}, time.time))
    app.telemetry.add(relay)
    return Mail(SqlMail(db, relay.wake), time.time)


if __name__ == "__main__":
    run("notification", build)
