"""The command as a member of the mesh: joins the running cluster with the operator's certificate."""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2, json_format

from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity import IdentityError
from grpcmesh.member import Member
from grpcmesh.status import from_wire
from local.catalog import OPERATOR
from meshmart.cluster import Cluster
from meshmart.errors import CommandError
from meshmart.running import running


@dataclass(frozen=True)
class Joined:
    """A membership, and the cluster that it joined."""

    member: Member
    cluster: Cluster

    async def replica_names(self) -> dict[str, str]:
        """Return names such as `product/1`, by address such as `127.0.1.1:50051`."""
        return {
            f"{r['address']}:{r['port']}": f"{name}/{r['id']}"
            for name, service in (await self.cluster.status())["services"].items()
            for r in service["replicas"]
        }


@contextlib.asynccontextmanager
async def join(state_dir: Path, *, identity: str = OPERATOR, **settings: Any) -> AsyncIterator[Joined]:
    """Join the running cluster.

    Args:
        state_dir: The state directory of an embedded cluster, such as `.meshmart`.
        identity: The workload whose certificate is presented.
        settings: Fields of `MeshConfig` that differ from its defaults.

    Raises:
        ClusterError: no cluster runs.
        CommandError: the membership or a call within it fails.
    """
    async with running(state_dir) as cluster, member_of(cluster, identity=identity, **settings) as member:
        yield Joined(member, cluster)


@contextlib.asynccontextmanager
async def member_of(cluster: Cluster, *, identity: str = OPERATOR, **settings: Any) -> AsyncIterator[Member]:
    """Join a cluster as `join` does.

    Raises:
        ClusterError: the cluster does not answer.
        CommandError: the membership or a call within it fails.
    """
    environment = {k: v for k, v in os.environ.items() if k.startswith("MESH_")}
    environment |= await cluster.environment(identity)
    if not (cluster.certificates / identity / "tls.crt").exists():
        raise CommandError(f"there is no certificate of {identity!r} in {cluster.certificates}")
    async with _member(environment, settings) as member:
        yield member


@contextlib.asynccontextmanager
async def _member(environment: Mapping[str, str], settings: dict[str, Any]) -> AsyncIterator[Member]:
    try:
        async with Member(MeshConfig.from_env(environment, **settings), sockets=False) as member:
            yield member
    except grpc.aio.AioRpcError as e:
        raise CommandError(describe(e)) from None
    except (ConfigError, IdentityError) as e:
        raise CommandError(str(e)) from None


def describe(error: grpc.aio.AioRpcError) -> str:
    """Return one line: the code, the message, and the google.rpc details, if there are any.

    The message comes from a server, so characters that could control a terminal are escaped.
    """
    wire = from_wire(error.trailing_metadata())
    details = [_shown(d) for d in wire.details] if wire else []
    message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in error.details() or "")
    line = f"{error.code().name}: {message}"
    return f"{line} {json.dumps(details)}" if details else line


def _shown(detail: any_pb2.Any) -> dict[str, Any]:
    try:
        return json_format.MessageToDict(detail)
    except (TypeError, ValueError, json_format.Error):  # its type is not known here
        return {"@type": detail.type_url}
