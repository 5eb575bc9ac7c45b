"""How large a frame is: what the network carries for each viewer."""

import asyncio

from bench.simulated import SimulatedMesh, chains
from meshmart.console import frame
from meshmart.console.observer import Observer
from meshmart.console.stream import packed


def seen(services: int, replicas: int) -> Observer:
    """An observer that has read every page twice, ten seconds apart."""
    observer, now = Observer(), [1e9]
    mesh = SimulatedMesh(chains(services), replicas, lambda: now[0])
    mesh.ports = {(service, i): 1 for service in mesh.graph for i in range(mesh.replicas)}
    observer.cluster(asyncio.run(mesh.status()))
    numbers = {service: number for number, service in enumerate(mesh.graph)}
    for at in (0.0, 10.0):
        now[0] = 1e9 + at
        for watched in list(observer.watched.values()):
            page = mesh.page(watched.service, numbers[watched.service], watched.id - 1)
            observer.page(watched.name, page.decode(), at)
    return observer


def test_a_frame_grows_with_the_replicas_and_is_packed_to_a_quarter() -> None:
    small, large = (frame.encode(seen(*m).snapshot(10.0, 1e9), [], {}) for m in ((6, 5), (12, 10)))
    assert len(large) / 120 <= 1.2 * len(small) / 30
    assert len(packed(large)) < len(large) / 4


def test_the_console_sees_every_replica_and_edge_of_a_simulated_mesh() -> None:
    snapshot = seen(6, 5).snapshot(10.0, 1e9)
    assert [len(s.replicas) for s in snapshot.services] == [5] * 6
    assert {r.state.value for s in snapshot.services for r in s.replicas} == {"ready"}
    told = {(e.source, e.target): e.callers for e in snapshot.edges}
    assert told == {(source, target): 5 for source, targets in chains(6).items() for target in targets}
    # Four calls per second and replica: bench/simulated.py.
    assert {round(e.traffic.rate) for e in snapshot.edges} == {20}
