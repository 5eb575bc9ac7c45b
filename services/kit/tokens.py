"""How every other service learns the keys that verify tokens: from the user service, through the mesh."""

from collections.abc import Mapping

import grpc.aio
from ecommerce.user_pb2_grpc import UserServiceStub
from google.protobuf.empty_pb2 import Empty

from grpcmesh.auth import PublicKey, from_jwk


class UserKeys:
    """A `grpcmesh.auth.KeySource` over UserService.GetVerificationKeys.

    Args:
        channel: To the user service: `app.use_keys(UserKeys(app.channel("user")))`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = UserServiceStub(channel)

    async def fetch(self) -> Mapping[str, PublicKey]:
        """The published keys by key id.

        Raises:
            grpc.aio.AioRpcError: if the user service does not answer.
            ValueError: if it publishes what is no key.
        """
        response = await self._stub.GetVerificationKeys(Empty())
        return dict(from_jwk(key.jwk) for key in response.keys)
