"""The console as a member of the mesh."""

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from local.catalog import CONSOLE, OPERATOR
from local.errors import ClusterError
from meshmart.cluster import Cluster
from meshmart.errors import CommandError

if TYPE_CHECKING:
    from grpcmesh.member import Member


class Membership:
    """Joins the mesh at the first use: a console without log-ins needs neither grpc nor a certificate.

    Args:
        cluster: The cluster.
        identity: The workload whose certificate is presented.
    """

    def __init__(self, cluster: Cluster, identity: str = OPERATOR) -> None:
        self._cluster, self._identity = cluster, identity
        self._stack = contextlib.AsyncExitStack()
        self._joining = asyncio.Lock()
        self._member: Member | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def member(self) -> "Member":
        """Return the membership.

        Raises:
            ClusterError: the console cannot join now.
        """
        async with self._joining:
            if self._member is None:
                from meshmart.operator import member_of

                try:
                    self._member = await self._stack.enter_async_context(
                        member_of(self._cluster, identity=self._identity)
                    )
                except CommandError as e:
                    raise ClusterError(f"the console cannot join the mesh: {e}") from None
            return self._member


def log_in_identity(cluster: Cluster) -> str:
    """Return the workload whose identity the console uses to ask who is an admin.

    On Kubernetes this is the workload `console`, which may do nothing else. If that has no certificate, it is
    the operator.
    """
    return CONSOLE if (cluster.certificates / CONSOLE / "tls.crt").exists() else OPERATOR
