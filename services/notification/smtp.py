"""Sends letters by SMTP (RFC 5321, submission by RFC 6409), with aiosmtplib."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Literal, Self, cast

import aiosmtplib

from grpcmesh.config import ConfigError
from services.kit.dsn_tls import system_authorities
from services.notification.mail import Letter, MailSystemError, UnacceptableLetter

#: Seconds for one letter, below what the relay of the outbox gives a delivery.
TIMEOUT = 4.5
Tls = Literal["starttls", "tls", "none"]
_PORTS: Mapping[str, int] = {"starttls": 587, "tls": 465, "none": 25}
_PREFIX = "MESHMART_SMTP_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The mail system that sends the shop's letters, and the account that it is used with.

    Args:
        host, port: The address that the mail server listens on.
        sender: The address that letters come from.
        tls: `starttls` (RFC 3207; without it no letter is sent), `tls` from the first byte (RFC 8314), or
            `none`.
        user: The user to log in as. If empty, the shop does not log in.
        password_file: A file with the password. It is read for each letter, so a new one needs no restart.
        ca_file: PEM of the CAs that verify the server's certificate. If None, those of the system.
    """

    host: str
    port: int
    sender: Address
    tls: Tls = "starttls"
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self | None:
        """Read MESHMART_SMTP_{HOST,PORT,FROM,TLS,USER,PASSWORD_FILE,CA_FILE}. Return None if no host is set.

        Raises:
            ConfigError: with a line for each variable that is wrong.
        """
        given = {n.removeprefix(_PREFIX): value for n, value in environ.items() if n.startswith(_PREFIX)}
        host, problems = given.get("HOST", ""), list[str]()
        if not host:
            return None
        tls = given.get("TLS") or "starttls"
        if tls not in _PORTS:
            problems.append(f"{_PREFIX}TLS={tls!r}: must be starttls, tls or none")
        port = given.get("PORT") or str(_PORTS.get(tls, 25))
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            problems.append(f"{_PREFIX}PORT={port!r}: must be from 1 to 65535")
        user, password, ca = (given.get(name, "") for name in ("USER", "PASSWORD_FILE", "CA_FILE"))
        if bool(user) != bool(password):
            problems.append(f"{_PREFIX}USER and {_PREFIX}PASSWORD_FILE: must be given together, or neither")
        if user and tls == "none":
            problems.append(f"{_PREFIX}TLS=none: {_PREFIX}USER's password is sent over TLS only")
        if tls != "none" and not ca and not system_authorities():
            problems.append(f"{_PREFIX}CA_FILE: must be given, as this system has no certificate authorities")
        sender = _sender(given.get("FROM", ""), problems)
        if problems or sender is None:
            raise ConfigError(problems)
        files = (Path(name) if name else None for name in (password, ca))
        return cls(host, int(port), sender, cast(Tls, tls), user, *files)


def _sender(text: str, problems: list[str]) -> Address | None:
    name, address = parseaddr(text)
    try:
        if not text.isprintable():  # the parser would pass over a line's end
            raise ValueError("control characters")
        return _address(address, name)
    except ValueError:
        problems.append(f"{_PREFIX}FROM={text!r}: must be an address, such as Meshmart <shop@example.com>")
    return None


def _address(text: str, name: str = "") -> Address:
    """Return the one address that a text holds. Raises ValueError if it holds none, or several."""
    try:
        address = Address(name, addr_spec=text)
    except (MessageError, IndexError, UnicodeError) as e:  # its parser raises what it meets
        raise ValueError("no address") from e
    if not address.username or not address.domain:
        raise ValueError("no address")
    return address


class SmtpMailer:
    """Implements `services.notification.mail.Mailer` with SMTP. Each letter has a connection of its own.

    Args:
        settings: The mail system.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, letter: Letter) -> None:
        """Send a letter, as the port says.

        An error has only the code of the server's answer, because its text may repeat the letter's words.
        """
        message, to = self._message(letter)
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._submit(message, to)
        except aiosmtplib.SMTPRecipientsRefused as e:
            raise _refusal([refused.code for refused in e.recipients]) from None
        except aiosmtplib.SMTPDataError as e:
            raise _refusal([e.code]) from None
        except aiosmtplib.SMTPNotSupported:
            raise UnacceptableLetter("the server takes no such address (SMTPUTF8)") from None
        except aiosmtplib.SMTPResponseException as e:
            raise MailSystemError(f"{type(e).__name__}: SMTP {e.code}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as e:
            raise MailSystemError(type(e).__name__) from None

    async def _submit(self, message: EmailMessage, to: Address) -> None:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=TIMEOUT,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=await asyncio.to_thread(self._trust) if settings.tls != "none" else None,
            username=settings.user or None,
            password=await asyncio.to_thread(self._password),
            local_hostname=settings.sender.domain,  # else the library asks DNS for this machine's name
        )
        try:
            await client.connect()
            await client.send_message(message, sender=settings.sender.addr_spec, recipients=[to.addr_spec])
        finally:
            client.close()

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._settings.ca_file)

    def _password(self) -> str | None:
        path = self._settings.password_file
        return path.read_text(encoding="utf-8").strip() if path else None

    def _message(self, letter: Letter) -> tuple[EmailMessage, Address]:
        message, sender = EmailMessage(SMTP), self._settings.sender
        try:
            to = _address(letter.to)
            message["From"], message["To"], message["Subject"] = sender, to, letter.subject
        except ValueError:
            raise UnacceptableLetter("its address or its subject cannot be a header") from None
        message["Date"] = format_datetime(datetime.fromtimestamp(letter.created_at, UTC))
        # The same at each attempt: what is delivered twice can be recognized.
        message["Message-ID"] = f"<letter-{letter.id}.{int(letter.created_at)}@{sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        message.set_content(letter.body)
        return message, to


def _refusal(codes: list[int]) -> MailSystemError | UnacceptableLetter:
    """Return the error for the codes of a refusal: 5xx is permanent, 4xx is not (RFC 5321, section 4.2.1)."""
    codes_text = ", ".join(f"SMTP {code}" for code in codes)
    permanent = all(code >= 500 for code in codes)
    return UnacceptableLetter(codes_text) if permanent else MailSystemError(codes_text)
