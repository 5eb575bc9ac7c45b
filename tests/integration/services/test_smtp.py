"""Letters through a mail system: a real SMTP server in this process, over a real outbox."""

import email
import email.policy
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import Relay
from services.notification.mail import KEPT, Letter, Mail, MailSystemError
from services.notification.mail_storage import TOPIC, SqlMail
from services.notification.receivers import Letters
from services.notification.smtp import Settings, SmtpMailer
from services.notification.storage import SqlStore
from tests.databases import Databases, Maker
from tests.smtp import SmtpServer, smtp_server

from .replicakit import eventually

NOW = 1_767_225_600.0
CODE = "kD83-the-code"
LETTER = Letter(2, "bob@example.com", "A new password", f"Hello,\n\n{CODE}\n.\nZoë\n", "event-1")


def smtp(server: SmtpServer, **settings: str) -> Settings:
    given = {
        "HOST": "localhost",
        "PORT": str(server.port),
        "FROM": "Meshmart <shop@example.com>",
        "TLS": "none",
    }
    found = Settings.from_env({f"MESHMART_SMTP_{name}": value for name, value in (given | settings).items()})
    assert found
    return found


@dataclass
class Running:
    mail: Mail
    db: Database
    queue: SqlQueue

    async def delivered(self) -> None:
        async def empty() -> bool:
            return not (await self.queue.waiting([TOPIC]))[TOPIC].count

        await eventually(empty)


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("notification")


@asynccontextmanager
async def sending(
    databases: Databases, settings: Settings, now: Callable[[], float] = lambda: NOW
) -> AsyncIterator[Running]:
    """What `services.notification.main` puts together."""
    async with Database.open(databases.url("notification"), "notification") as db:
        letters = Letters(Mail(SqlMail(db), now), SmtpMailer(settings))
        async with Relay(SqlQueue(db), {TOPIC: letters}, now) as relay:
            yield Running(Mail(SqlMail(db, relay.wake), now), db, SqlQueue(db))


async def test_a_letter_is_sent_once_and_kept_no_longer(databases: Databases) -> None:
    async with smtp_server() as server, sending(databases, smtp(server)) as running:
        for _ in range(2):  # one event
            await running.mail.send(LETTER)
        await running.delivered()
        assert await running.mail.letters("", 10) == []
    (text,) = server.letters
    sent = email.message_from_string(text, policy=email.policy.default)
    assert (sent["From"], sent["To"], sent["Subject"]) == (
        "Meshmart <shop@example.com>",
        "bob@example.com",
        "A new password",
    )
    assert sent["Message-ID"] == f"<letter-1.{NOW:.0f}@example.com>"
    assert sent.get_content().splitlines()[:3] == ["Hello,", "", CODE]


async def test_a_mail_system_that_is_away_or_full_is_asked_again_and_no_log_tells_the_code(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    now = [NOW]
    async with smtp_server() as server, sending(databases, smtp(server), lambda: now[0]) as running:
        server.answers = {"MAIL": ["421 busy"], "RCPT": [f"451 later {CODE}"], "DATA": [f"452 full {CODE}"]}
        await running.mail.send(LETTER)

        async def sent() -> bool:
            now[0] += 1
            return bool(server.letters)

        await eventually(sent)
        await running.delivered()
        assert server.connections == 4
    assert "SMTP 421" in caplog.text
    assert CODE not in caplog.text
    assert "bob@example.com" not in caplog.text


@pytest.mark.parametrize(
    ("command", "letter"),
    [
        ("RCPT", LETTER),
        ("DATA", LETTER),
        ("", replace(LETTER, to="bob@example.com, eve@example.com")),
        ("", replace(LETTER, to="bob@example.com\r\nRCPT TO:<eve@example.com>")),
        ("", replace(LETTER, subject="s\r\nBcc: eve@example.com")),
        ("", replace(LETTER, to="bøb@example.com")),  # the server has no SMTPUTF8
    ],
)
async def test_a_letter_that_will_never_be_taken_is_dropped_and_holds_up_nothing(
    databases: Databases, caplog: pytest.LogCaptureFixture, command: str, letter: Letter
) -> None:
    async with smtp_server() as server, sending(databases, smtp(server)) as running:
        server.answers = {command: ["550 no such <bob@example.com>"]}
        await running.mail.send(letter)
        await running.delivered()
        assert await running.mail.letters("", 10) == []
        assert server.letters == []
        await running.mail.send(replace(LETTER, event_id="event-2"))
        await running.delivered()
    assert len(server.letters) == 1
    assert "is dropped" in caplog.text
    assert "bob@" not in caplog.text


async def test_a_letter_that_was_erased_or_is_too_old_is_not_sent(databases: Databases) -> None:
    now = [NOW]
    async with smtp_server() as server, sending(databases, smtp(server), lambda: now[0]) as running:
        server.answers = {"MAIL": ["421 busy"] * 2}
        for user_id in (2, 3):
            await running.mail.send(replace(LETTER, user_id=user_id, event_id=None))

        async def both_failed() -> bool:
            return server.connections == 2

        await eventually(both_failed)
        await SqlStore(running.db).erase_user(2)
        now[0] += KEPT + 1

        async def none_waits() -> bool:
            now[0] += 1
            return not (await running.queue.waiting([TOPIC]))[TOPIC].count

        await eventually(none_waits)
    assert server.letters == []


@pytest.fixture
def certificates(tmp_path: Path) -> ssl.SSLContext:
    """Of `localhost`; its CA is `ca.crt`, and `other.crt` one that has nothing to do with it."""
    ca = CertificateAuthority()
    for name, data in ca.issue("mail", dns_names=["localhost"]).files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "ca.crt").write_bytes(ca.pem)
    (tmp_path / "other.crt").write_bytes(CertificateAuthority().pem)
    (tmp_path / "password").write_text("hunter2\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    return context


async def test_a_password_is_sent_after_starttls_to_the_right_server_only(
    tmp_path: Path, certificates: ssl.SSLContext
) -> None:
    with_user = {"TLS": "starttls", "USER": "shop", "PASSWORD_FILE": str(tmp_path / "password")}
    right, other = ({**with_user, "CA_FILE": str(tmp_path / name)} for name in ("ca.crt", "other.crt"))
    async with smtp_server(certificates) as server:
        await SmtpMailer(smtp(server, **right)).send(LETTER)
        assert (server.logins, len(server.letters)) == (["\0shop\0hunter2"], 1)
        for settings in (smtp(server, **other), replace(smtp(server, **right), host="127.0.0.1")):
            with pytest.raises(MailSystemError):
                await SmtpMailer(settings).send(LETTER)
    async with smtp_server() as plain:  # it offers no STARTTLS, as if somebody had cut that out
        with pytest.raises(MailSystemError):
            await SmtpMailer(smtp(plain, **right)).send(LETTER)
    assert (len(server.logins), plain.logins, plain.letters) == (1, [], [])


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notification.smtp.TIMEOUT", 0.05)
    async with smtp_server(silent=True) as server:
        with pytest.raises(MailSystemError, match="Timeout"):
            await SmtpMailer(smtp(server)).send(LETTER)
