"""Buyers who are logged in, and stay so however long the load runs."""

import asyncio
import time
from typing import Any

from ecommerce import user_pb2
from ecommerce.user_pb2_grpc import UserServiceStub

from grpcmesh.clock import Clock
from services.loadgen.calls import ChannelSource, Metadata, measured
from services.loadgen.engine import Recorder

#: The share of a token's life after which the next is asked for.
RENEW_AFTER = 0.8


async def login(channels: ChannelSource, name: str, password: str) -> user_pb2.LoginResponse:
    """Logs in; raises grpc.aio.AioRpcError where that fails."""
    request = user_pb2.LoginRequest(login=name, password=password)
    return await UserServiceStub(channels("user")).Login(request)


class Session:
    """One buyer: logged in at the first call that needs it, with new tokens before the old ones expire.

    Args:
        channels: Into the mesh.
        name: Of a user of the demo, whose password is `NAME-password`.
        clock: Monotonic.
    """

    def __init__(self, channels: ChannelSource, name: str, clock: Clock = time.monotonic) -> None:
        self.name = name
        self.user_id = 0
        self._stub: Any = UserServiceStub(channels("user"))
        self._clock, self._renewing = clock, asyncio.Lock()
        self._access = self._refresh = ""
        self._renew_at = 0.0

    async def metadata(self, recorder: Recorder) -> Metadata | None:
        """Of a call by this buyer; None where nobody can log in now. Calls for tokens are recorded, too."""
        if self._due():
            async with self._renewing:
                # Whoever waited here finds the tokens renewed.
                if self._due() and not await self._renew(recorder):
                    return None
        return (("authorization", f"Bearer {self._access}"),)

    def _due(self) -> bool:
        return not self._access or self._clock() >= self._renew_at

    async def _renew(self, recorder: Recorder) -> bool:
        response = None
        if self._refresh:
            # A refresh token is good for one use, and after a lost answer nobody knows whether it was that.
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
        response = await measured(recorder, "user", "Login", self._stub.Login(request))
        if response is not None:
            self.user_id = response.user.id
        return response
