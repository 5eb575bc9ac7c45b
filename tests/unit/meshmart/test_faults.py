"""The hang of a replica by a fault: it ends, and what has taken its place does not."""

from typing import Any

import pytest

from grpcmesh.fault import Fault
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.wire import fault_message
from meshmart import faults
from meshmart.leases import LEASE


class Replica:
    """A replica that has one fault at a time.

    Args:
        monkeypatch: Replaces the functions that reach replicas.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults: list[pb.ActiveFault] = []
        for name in ("list_faults", "set_fault", "clear_faults"):
            monkeypatch.setattr(faults, name, getattr(self, name))

    async def list_faults(self, *_: Any) -> list[pb.ActiveFault]:
        return self.faults

    async def set_fault(
        self, member: Any, service: str, replica: Any, fault: Fault, lasts: float, lease: float | None = None
    ) -> None:
        self.faults = [pb.ActiveFault(fault=fault_message(fault), leased=lease is not None)]

    async def clear_faults(self, *_: Any) -> int:
        self.faults = []
        return 1


async def test_a_hang_is_seen_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(monkeypatch)
    of: Any = (None, "product", None)
    await faults.hang(*of, LEASE)
    assert await faults.hangs(*of)
    await faults.unhang(*of)
    assert replica.faults == []


@pytest.mark.parametrize(
    ("own", "lease"),
    [(Fault(abort="INTERNAL"), LEASE), (Fault(abort="INTERNAL"), None), (Fault(delay=faults.HANG), None)],
)
async def test_a_fault_that_has_taken_the_place_of_a_hang_stays(
    own: Fault, lease: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(monkeypatch)
    of: Any = (None, "product", None)
    await faults.hang(*of, LEASE)
    await replica.set_fault(*of, own, 3600, lease)
    assert not await faults.hangs(*of)
    await faults.unhang(*of)
    assert [fault.fault for fault in replica.faults] == [fault_message(own)]
