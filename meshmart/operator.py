"""The command as a member of the mesh: joins the running cluster with the operator's certificate."""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from local.client import ControlClient
from local.environment import client_environment
from local.state import StateDir
from mesh.config import ConfigError, MeshConfig
from mesh.identity import IdentityError
from mesh.member import Member
from mesh.status import from_wire
from meshmart.errors import CommandError

OPERATOR = "client"


@dataclass(frozen=True)
class Joined:
    """A member, and what the cluster said of itself when it joined."""

    member: Member
    status: dict[str, Any]
    certificates: Path

    def replica_names(self) -> dict[str, str]:
        """`product/1` by `127.0.1.1:50051`."""
        return {
            f"{r['address']}:{r['port']}": f"{name}/{r['id']}"
            for name, service in self.status["services"].items()
            for r in service["replicas"]
        }


@contextlib.asynccontextmanager
async def join(state_dir: Path, *, identity: str = OPERATOR, **settings: Any) -> AsyncIterator[Joined]:
    """Joins the embedded cluster of a state directory.

    Args:
        state_dir: `.meshmart`.
        identity: The workload whose certificate is presented.
        settings: Fields of `MeshConfig` that differ from its defaults.

    Raises:
        ClusterError: where no cluster runs there.
        CommandError: where the membership or a call within it fails.
    """
    status = await ControlClient(state_dir).request("status")
    state = StateDir(state_dir)
    environment = {k: v for k, v in os.environ.items() if k.startswith("MESH_")}
    environment |= client_environment(state, status["dns"], status["resolver"])
    environment["MESH_IDENTITY_DIRECTORY"] = str(state.certs / identity)
    try:
        async with Member(MeshConfig.from_env(environment, **settings), sockets=False) as member:
            yield Joined(member, status, state.certs)
    except grpc.aio.AioRpcError as e:
        raise CommandError(describe(e)) from None
    except (ConfigError, IdentityError) as e:
        raise CommandError(str(e)) from None


def describe(error: grpc.aio.AioRpcError) -> str:
    """One line: the code, the message, and the google.rpc details where there are any."""
    wire = from_wire(error.trailing_metadata())
    details = [json_format.MessageToDict(d) for d in wire.details] if wire else []
    line = f"{error.code().name}: {error.details()}"
    return f"{line} {json.dumps(details)}" if details else line
