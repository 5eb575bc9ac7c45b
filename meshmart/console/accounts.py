"""Asks the shop's user service who an admin is, as the operator."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from local.errors import ClusterError
from meshmart.console.refusal import RefusedError

if TYPE_CHECKING:
    import grpc

    from grpcmesh.member import Member

#: The role that a user needs for the console.
ADMIN = "admin"
#: Seconds that a log-in, or another call, may take. Hashing a password takes CPU time.
_LOGIN, _TIMEOUT = 20.0, 3.0


class UnansweredError(Exception):
    """The user service did not answer, so nothing is known about the user."""


class BusyError(Exception):
    """The user service refuses log-ins for now: it is overloaded, or too many log-ins have failed."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user who has logged in."""

    name: str
    is_admin: bool
    secret: str = field(repr=False)
    """The refresh token of this log-in."""


class Accounts(Protocol):
    """Port: the users of the shop."""

    async def log_in(self, name: str, password: str) -> Account | None:
        """Return the user if the password is right.

        Raises:
            RefusedError: the password is right, but the account may not log in.
            BusyError: the user service refuses log-ins for now.
            UnansweredError: the user service does not answer.
        """

    async def renew(self, secret: str) -> str | None:
        """Return the next refresh token of a log-in; None if the log-in has ended, for example because its
        user was suspended.

        Raises:
            UnansweredError: the user service does not answer.
        """

    async def log_out(self, secret: str) -> None:
        """End a log-in. An error is ignored, because nobody has the refresh token any more."""


class UserAccounts:
    """Asks the shop's `UserService`.

    Args:
        member: Returns the operator's membership.
    """

    def __init__(self, member: Callable[[], Awaitable["Member"]]) -> None:
        self._member = member

    async def log_in(self, name: str, password: str) -> Account | None:
        import grpc
        from ecommerce import user_pb2
        from ecommerce.user_pb2_grpc import UserServiceStub

        request = user_pb2.LoginRequest(login=name, password=password)
        try:
            stub = UserServiceStub(await self._channel())
            answer = await stub.Login(request, timeout=_LOGIN)
        except grpc.aio.AioRpcError as e:
            _raise_unless_wrong(e)
            return None
        user = answer.user
        return Account(str(user.name), ADMIN in user.roles, str(answer.refresh_token))

    async def renew(self, secret: str) -> str | None:
        import grpc
        from ecommerce import user_pb2
        from ecommerce.user_pb2_grpc import UserServiceStub

        request = user_pb2.RefreshTokenRequest(refresh_token=secret)
        try:
            stub = UserServiceStub(await self._channel())
            answer = await stub.RefreshToken(request, timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as e:
            if e.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return None
            raise UnansweredError(e.code().name) from None
        return str(answer.refresh_token)

    async def _channel(self) -> "grpc.aio.Channel":
        try:
            return (await self._member()).channel("user")
        except ClusterError as e:
            raise UnansweredError(str(e)) from None

    async def log_out(self, secret: str) -> None:
        import grpc
        from ecommerce import user_pb2
        from ecommerce.user_pb2_grpc import UserServiceStub

        with contextlib.suppress(grpc.aio.AioRpcError, UnansweredError):
            stub = UserServiceStub(await self._channel())
            await stub.Logout(user_pb2.LogoutRequest(refresh_token=secret), timeout=_TIMEOUT)


def _raise_unless_wrong(error: "grpc.aio.AioRpcError") -> None:
    """Return if the answer means that the password is wrong; otherwise raise the error that it means."""
    import grpc

    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.INVALID_ARGUMENT:
            return
        case grpc.StatusCode.PERMISSION_DENIED:
            raise RefusedError(403, "this account may not log in") from None
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise BusyError from None
        case code:
            raise UnansweredError(code.name) from None
