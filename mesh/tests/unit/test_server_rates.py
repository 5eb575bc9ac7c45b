"""Budgets by peer, in virtual time; and whose connections are too many."""

import pytest

from grpcmesh import rates
from grpcmesh.config import ServerConfig
from grpcmesh.rates import PeerRates
from grpcmesh.server.guard import excess
from grpcmesh.server.options import max_connections, mesh_port
from grpcmesh.server.sockets import Peer


class Hand:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_peer_has_its_burst_and_then_its_rate() -> None:
    clock = Hand()
    budget = PeerRates(10.0, 5, clock)
    assert [budget.take("a") for _ in range(6)] == [True] * 5 + [False]
    assert budget.take("b")
    clock.now += 0.15
    assert [budget.take("a") for _ in range(2)] == [True, False]
    clock.now += 60
    assert [budget.take("a") for _ in range(6)] == [True] * 5 + [False]


def test_credit_is_paid_back_in_time() -> None:
    clock = Hand()
    budget = PeerRates(100.0, 50, clock)
    assert budget.wait("a", 50) == 0
    assert budget.wait("a", 200) == pytest.approx(2.0)
    clock.now += 2.0
    assert budget.wait("a", 0) == pytest.approx(0.0)


def test_peers_are_forgotten_the_quietest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_PEERS", 2)
    budget = PeerRates(1.0, 1, Hand())
    assert [budget.take(peer) for peer in ("a", "b", "c", "c", "a")] == [True, True, True, False, True]


def test_the_connections_beyond_an_addresss_share_are_its_newest() -> None:
    seen = [Peer("10.0.0.1", 1), Peer("10.0.0.2", 2), Peer("10.0.0.1", 3), Peer("10.0.0.1", 4)]
    assert excess(seen, 2) == [Peer("10.0.0.1", 4)]
    assert excess(seen, 3) == []


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ipv4:127.0.0.1:40000", Peer("127.0.0.1", 40000)),
        ("ipv6:%5B::1%5D:40000", Peer("::1", 40000)),
        ("ipv6:[::ffff:10.0.0.1]:40000", Peer("10.0.0.1", 40000)),
        ("ipv6:%5Bfe80::1%251%5D:7", Peer("fe80::1", 7)),
        ("unix:", None),
        ("unix-abstract:%00x", None),
        ("", None),
        ("ipv4:nonsense:1", None),
    ],
)
def test_peers_are_read_as_grpc_writes_them(name: str, peer: Peer | None) -> None:
    assert Peer.parse(name) == peer
    if peer is not None:
        assert Peer.parse(str(peer)) == peer


@pytest.mark.parametrize(
    ("wanted", "files", "allowed"),
    [(4096, 1024, 768), (4096, 100_000, 4096), (0, 1024, 768), (4096, 300, 150)],
)
def test_connections_leave_file_descriptors_to_others(wanted: int, files: int, allowed: int) -> None:
    assert max_connections(ServerConfig(max_connections=wanted), files) == allowed


def test_any_channel_argument_can_be_set_and_goes_before_ours() -> None:
    options = {"grpc.optimization_target": "latency", "grpc.max_concurrent_streams": "7"}
    arguments = dict(mesh_port(ServerConfig(options=options, max_receive_message=-1), 1024))
    assert arguments["grpc.optimization_target"] == "latency"
    assert arguments["grpc.max_concurrent_streams"] == 7
    assert arguments["grpc.max_receive_message_length"] == -1
    assert "grpc.max_connection_age_ms" not in arguments
    assert dict(mesh_port(ServerConfig(max_connection_age=1.5), 1024))["grpc.max_connection_age_ms"] == 1500
