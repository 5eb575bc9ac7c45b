"""Which connections are accepted and which are closed, and the client that a proxy names."""

import resource
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.http.limits import MAX_LINGERING, HttpLimits, Registry
from grpcmesh.http.peers import Proxies, proxy_source


@dataclass(eq=False)
class Conn:
    evictable: bool = True
    evicted: bool = False

    def evict(self) -> None:
        self.evicted = True


def registry(most: int = 10, per_address: int = 3) -> Registry:
    return Registry(HttpLimits(max_connections=most, max_per_address=per_address))


def test_an_addresss_own_oldest_half_sent_request_makes_room() -> None:
    reg = registry()
    busy, oldest, newer = Conn(evictable=False), Conn(), Conn()
    for connection in (busy, oldest, newer):
        assert reg.enter(connection, "a")
    assert reg.enter(Conn(), "a")
    assert (busy.evicted, oldest.evicted, newer.evicted) == (False, True, False)
    assert len(reg) == 3


def test_an_address_whose_requests_are_all_under_way_gets_no_more_and_others_do() -> None:
    reg = registry()
    for _ in range(3):
        assert reg.enter(Conn(evictable=False), "a")
    assert not reg.enter(Conn(), "a")
    assert reg.enter(Conn(), "b")


def test_a_full_server_takes_room_from_the_address_that_only_waits_most() -> None:
    reg = registry(most=5)
    idle, crowd = Conn(), [Conn(), Conn(), Conn()]
    assert reg.enter(idle, "visitor")
    assert reg.enter(Conn(evictable=False), "buyer")
    for connection in crowd:
        assert reg.enter(connection, "crowd")
    assert reg.enter(Conn(), "new")
    assert [c.evicted for c in crowd] == [True, False, False]
    assert not idle.evicted


def test_a_server_full_of_requests_under_way_refuses() -> None:
    reg = registry(most=2)
    for address in "ab":
        assert reg.enter(Conn(evictable=False), address)
    assert not reg.enter(Conn(), "c")
    assert len(reg) == 2


def test_few_may_linger_to_read_that_they_are_refused() -> None:
    reg, crowd = registry(), [Conn() for _ in range(MAX_LINGERING)]
    assert all(reg.linger(connection) for connection in crowd)
    assert not reg.linger(Conn())
    reg.leave(crowd[0], "a")
    assert reg.linger(Conn())
    assert len(reg) == 0


def test_the_limit_by_address_is_not_for_proxies() -> None:
    reg = registry()
    assert all(reg.enter(Conn(evictable=False), "proxy", exempt=True) for _ in range(10))
    assert not reg.enter(Conn(), "proxy", exempt=True)


def test_half_of_the_file_descriptors_are_left_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert HttpLimits().connections == 128
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert HttpLimits().connections == 1024


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["idle", "busy", "leave"])), max_size=60))
def test_the_bounds_hold_whatever_happens(steps: list[tuple[str, str]]) -> None:
    reg, there = registry(most=5), list[tuple[Conn, str]]()
    for address, what in steps:
        if what == "leave":
            for connection, at in [pair for pair in there if pair[1] == address][:1]:
                reg.leave(connection, at)
                there.remove((connection, at))
            continue
        connection = Conn(evictable=what == "idle")
        if reg.enter(connection, address):
            there.append((connection, address))
        assert all(c.evictable for c, _ in there if c.evicted)
        there = [pair for pair in there if not pair[0].evicted]
        assert len(reg) == len(there) <= 5
        assert max((sum(at == a for _, at in there) for a in "abc"), default=0) <= 3


TRUSTED = Proxies.of(["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # a stranger says so
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the left one is the client's own word
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        ("10.0.0.1", ["198.51.100.1, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db9::1]:4711"], "2001:db9::/64"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db9:0:0:1::7", [], "2001:db9::/64"),
        ("not an address", [], "not an address"),
    ],
)
def test_the_client_is_the_rightmost_that_no_trusted_proxy_is(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert TRUSTED.client(peer, forwarded) == client


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        Proxies.of(["10.0.0"])


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 8080\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db9::7 ::1 4711 8080\r\n", "2001:db9::/64"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n", ""),
        (b"PROXY TCP4 me you 1 2\r\n", None),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n", None),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 8080", None),
        (b"GET / HTTP/1.1\r\n", None),
    ],
)
def test_a_proxy_line_names_its_client(line: bytes, source: str | None) -> None:
    assert proxy_source(line) == source


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=3))
def test_no_header_whatever_is_an_error(peer: str, forwarded: list[str]) -> None:
    assert isinstance(TRUSTED.client(peer, forwarded), str)
    assert isinstance(TRUSTED.client("10.0.0.1", forwarded), str)
