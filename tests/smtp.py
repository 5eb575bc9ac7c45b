"""A small SMTP server, for tests: it takes letters, and answers what it is told to."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class SmtpServer:
    """What came, and by command (MAIL, RCPT, DATA, AUTH) what is answered in place of 250, once each."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    letters: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    silent: bool = False
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, ssl.SSLError):
                await self._converse(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await reader.read()
            return
        secured = False
        writer.write(b"220 mail.test ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            if verb.upper() in self.answers and self.answers[verb.upper()]:
                writer.write(self.answers[verb.upper()].pop(0).encode() + b"\r\n")
            elif verb.upper() == "EHLO":
                offered = "AUTH PLAIN" if secured or not self.tls else "STARTTLS"
                writer.write(f"250-mail.test\r\n250 {offered}\r\n".encode())
            elif verb.upper() == "STARTTLS" and self.tls:
                writer.write(b"220 go on\r\n")
                await writer.start_tls(self.tls)
                secured = True
            elif verb.upper() == "AUTH":
                self.logins.append(base64.b64decode(rest.split()[-1]).decode())
                writer.write(b"235 welcome\r\n")
            elif verb.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"250 yes\r\n")


@asynccontextmanager
async def smtp_server(
    tls: ssl.SSLContext | None = None, *, silent: bool = False
) -> AsyncIterator[SmtpServer]:
    """One on a free port of 127.0.0.1.

    Args:
        tls: It offers STARTTLS, and log-ins only after it.
        silent: It says nothing at all.
    """
    known = SmtpServer(tls=tls, silent=silent)
    async with await asyncio.start_server(known.serve, "127.0.0.1", 0) as server:
        known.port = server.sockets[0].getsockname()[1]
        yield known
        # Whoever called has closed; so is each connection here, before the loop ends.
        await asyncio.gather(*known.tasks)
