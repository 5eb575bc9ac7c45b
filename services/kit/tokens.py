"""Fetches the keys that verify tokens from the user service, through the mesh, for every other service."""

from collections.abc import Mapping, Sequence

import grpc.aio
from ecommerce.user_pb2_grpc import UserServiceStub
from google.protobuf.empty_pb2 import Empty

from grpcmesh.auth import MAX_REVOCATIONS, PublicKey, Revocation, from_jwk


class UserKeys:
    """A `grpcmesh.auth.KeySource` that calls UserService.GetVerificationKeys.

    Args:
        channel: A channel to the user service: `app.use_keys(UserKeys(app.channel("user")))`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = UserServiceStub(channel)
        #: The revocations, as of the last fetch.
        self.revocations: Sequence[Revocation] = ()

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the published keys by key id, and update `revocations`.

        Raises:
            grpc.aio.AioRpcError: the user service does not answer.
            ValueError: it publishes an invalid key, or too many revocations.
        """
        response = await self._stub.GetVerificationKeys(Empty())
        keys = dict(from_jwk(key.jwk) for key in response.keys)
        if len(response.revocations) > MAX_REVOCATIONS:
            raise ValueError("the revocation list is too long")
        self.revocations = [Revocation(r.user_id, r.session, r.issued_until) for r in response.revocations]
        return keys
