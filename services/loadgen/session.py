"""Buyers who are logged in, and stay logged in however long the load runs."""

import asyncio
import time
from typing import Any

from ecommerce import user_pb2
from ecommerce.user_pb2_grpc import UserServiceStub

from grpcmesh.clock import Clock
from services.loadgen.calls import ChannelSource, Metadata, measured
from services.loadgen.engine import Recorder

#: The share of a token's lifetime after which it is renewed.
RENEW_AFTER = 0.8
#: Timeout of a log-in, in seconds. Hashing a password takes a quarter of a second of CPU time, which can
#: exceed the method's own timeout on a machine that is short of CPU.
LOGIN_TIMEOUT = 30.0


async def login(channels: ChannelSource, name: str, password: str) -> user_pb2.LoginResponse:
    """Log in. Raises grpc.aio.AioRpcError if that fails."""
    request = user_pb2.LoginRequest(login=name, password=password)
    return await UserServiceStub(channels("user")).Login(request)


class Session:
    """The session of one buyer. It logs in at the first call that needs it, and renews its tokens before they
    expire.

    Args:
        channels: Channels into the mesh.
        name: The name of a demo user, whose password is `NAME-password`.
        clock: Returns monotonic seconds.
    """

    def __init__(self, channels: ChannelSource, name: str, clock: Clock = time.monotonic) -> None:
        self.name = name
        self.user_id = 0
        self._stub: Any = UserServiceStub(channels("user"))
        self._clock, self._renewing = clock, asyncio.Lock()
        self._access = self._refresh = ""
        self._renew_at = 0.0

    async def metadata(self, recorder: Recorder) -> Metadata | None:
        """Return the metadata of a call by this buyer; None if it cannot log in now.

        Calls for tokens are recorded, too.
        """
        if self._due():
            async with self._renewing:
                # A caller that waited here finds the tokens renewed.
                if self._due() and not await self._renew(recorder):
                    return None
        return (("authorization", f"Bearer {self._access}"),)

    def _due(self) -> bool:
        return not self._access or self._clock() >= self._renew_at

    async def _renew(self, recorder: Recorder) -> bool:
        response = None
        if self._refresh:
            # A refresh token is valid once, and after a lost answer it is unknown whether it was used.
            secret, self._refresh = self._refresh, ""
            request = user_pb2.RefreshTokenRequest(refresh_token=secret)
            response = await measured(recorder, "user", "RefreshToken", self._stub.RefreshToken(request))
        if response is None:
            response = await self._log_in(recorder)
        if response is None:
            return False
        self._access, self._refresh = response.access_token, response.refresh_token
        self._renew_at = self._clock() + response.expires_in * RENEW_AFTER
        return True

    async def _log_in(self, recorder: Recorder) -> Any:
        request = user_pb2.LoginRequest(login=self.name, password=f"{self.name}-password")
        response = await measured(recorder, "user", "Login", self._stub.Login(request, timeout=LOGIN_TIMEOUT))
        if response is not None:
            self.user_id = response.user.id
        return response
