"""Writes logs as JSON lines, with the service, replica and trace. Secrets are redacted."""

import functools
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from grpcmesh.rates import PeerRates
from grpcmesh.telemetry.context import current_trace

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}

#: A field with one of these words in its name is never written: `card_number`, `accessToken`, `set-cookie`.
_SECRET = frozenset(
    {
        "authorization", "password", "passwd", "passphrase", "secret", "token", "jwt", "bearer", "cookie",
        "credential", "card", "cardnumber", "cvv", "cvc", "pin", "pan", "apikey",
        "passwords", "secrets", "cookies", "credentials", "cards",
    }
)  # fmt: skip
#: Names with `key` that hold a secret. Other keys are no secret, such as `idempotency_key`.
_SECRET_KEY = re.compile(r"(private|signing|api|encryption)_?key|key", re.ASCII)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
#: Keys that every line may have. A field with such a name gets an underscore appended.
_RESERVED = frozenset({"ts", "level", "service", "replica", "msg", "trace_id", "span_id"})
_REDACTED, _DEEPER = "[redacted]", "[…]"
#: The most levels of nested values, and characters of one field, because values may come from anybody.
MAX_DEPTH, MAX_FIELD = 8, 32_768


@functools.lru_cache(maxsize=1024)
def names_secret(key: str) -> bool:
    """Return whether a field of this name may hold a secret."""
    words = [word.lower() for word in _WORDS.findall(key)]
    return not _SECRET.isdisjoint(words) or _SECRET_KEY.fullmatch("_".join(words)) is not None


def redact(key: str, value: object, depth: int = 0) -> object:
    """Return the value, or a placeholder if the key names a secret. Mappings and sequences are searched."""
    if names_secret(key):
        return _REDACTED
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    if depth == MAX_DEPTH:
        return _DEEPER
    if isinstance(value, Mapping):
        return {str(k): redact(str(k), v, depth + 1) for k, v in value.items()}
    return [redact("", v, depth + 1) for v in value]


def timestamps(now: Callable[[], float] = time.time) -> Callable[[], str]:
    """Return a function that formats the current time as `2026-01-31T12:00:00.123Z`.

    The function is cheap because it formats each second only once.

    Args:
        now: Returns unix seconds.
    """
    second, prefix = -1, ""

    def stamp() -> str:
        nonlocal second, prefix
        at = now()
        whole = int(at)
        if whole != second:
            second, prefix = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        return f"{prefix}.{int((at - whole) * 1000):03d}Z"

    return stamp


class Logger:
    """A structured logger: `log.info("message", key=value)`.

    Each line has `ts`, `level`, `service`, `replica` and `msg`, inside a traced call also `trace_id` and
    `span_id`, then the fields. Fields whose name suggests a secret are redacted.

    Args:
        service: Name of the service.
        replica: Name of this process.
        write: Called with each finished line.
        level: The lowest level that is written.
    """

    def __init__(self, service: str, replica: str, write: Callable[[str], None], level: str = "INFO") -> None:
        self._head = f'"service":{quote(service)},"replica":{quote(replica)},"msg":'
        #: Writes a line built by hand: `{"ts":"` + `stamp()` + `head(…)` + fields + `}`.
        self.raw = write
        self.stamp = timestamps()
        self.level = LEVELS[level]

    def debug(self, message: str, **fields: object) -> None:
        if self.level <= 10:
            self.log("DEBUG", message, fields)

    def info(self, message: str, **fields: object) -> None:
        if self.level <= 20:
            self.log("INFO", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        if self.level <= 30:
            self.log("WARNING", message, fields)

    def error(self, message: str, error: BaseException | None = None, **fields: object) -> None:
        """Log an error. If `error` is given, its type and stack are written, too, but no local variables."""
        if error is not None:
            fields["error"] = type(error).__name__
            fields["stack"] = "".join(_stack(error))
        self.log("ERROR", message, fields)

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Write a line, whatever the logger's level."""
        line = f'{{"ts":"{self.stamp()}{self.head(level, message)}{_trace()}'
        for key, value in fields.items():
            name = f"{key}_" if key in _RESERVED else key
            line += f",{quote(name)}:{_json(key, value)}"
        self.raw(line + "}")

    def head(self, level: str, message: str) -> str:
        """Return the part of a line between time and fields, which is the same for each line of a message."""
        return f'","level":"{level}",{self._head}{quote(message[:MAX_FIELD])}'


def _json(key: str, value: object) -> str:
    """Return a field's value as JSON. Never raises, so that the line is written whatever the value is."""
    try:
        redacted = redact(key, value)
        try:
            text = json.dumps(redacted, default=str, separators=(",", ":"), allow_nan=False)
        except ValueError:
            # NaN and infinity are no JSON; a strict reader would refuse the whole line.
            return quote(str(redacted)[:MAX_FIELD])
        return text if len(text) <= MAX_FIELD else quote(text[:MAX_FIELD] + _DEEPER)
    except Exception as e:  # of a value's own __str__, __iter__ or the like
        return quote(f"[a {type(value).__name__} that cannot be written: {type(e).__name__}]")


def _trace() -> str:
    trace = current_trace()
    return f',"trace_id":"{trace.trace_id}","span_id":"{trace.span_id}"' if trace else ""


def _stack(error: BaseException) -> list[str]:
    return traceback.format_exception(error)


#: Lines of each of grpc's own loggers: per second, and in a burst. grpc logs each malformed request, with a
#: stack.
GRPC_LINES, GRPC_BURST = 5.0, 50


class JsonHandler(logging.Handler):
    """Writes records of the standard library's logging (uvicorn, SQLAlchemy, Alembic) to a `Logger`."""

    def __init__(self, log: Logger) -> None:
        super().__init__(log.level)
        self._log = log
        self._lines = PeerRates(GRPC_LINES, GRPC_BURST)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("grpc.") and not self._lines.take(record.name):
            return
        try:
            self._emit(record)
        except Exception:
            self.handleError(record)

    def _emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            fields |= {"error": type(error).__name__, "stack": "".join(_stack(error))}
        level = record.levelname if record.levelname in LEVELS else "ERROR"
        self._log.log(level, record.getMessage(), fields)


class CapturedLogging:
    """Replaces the root logger's handlers by a `JsonHandler`, until `restore()`."""

    def __init__(self, log: Logger) -> None:
        self._root = logging.getLogger()
        self._before = (self._root.handlers[:], self._root.level)
        self._root.handlers[:] = [JsonHandler(log)]
        self._root.setLevel(max(log.level, logging.INFO))

    def restore(self) -> None:
        """Restore the former handlers and level."""
        self._root.handlers[:], level = self._before
        self._root.setLevel(level)
