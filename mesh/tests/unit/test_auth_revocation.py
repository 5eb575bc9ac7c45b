"""Revoked tokens are rejected from the next fetch on, also on running streams."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.auth import (
    PublicKey,
    Revocation,
    Revocations,
    TokenIssuer,
    TokenVerifier,
    UserLayer,
)
from grpcmesh.authz import UserRule
from grpcmesh.call import Kind, Method, Principal, ServerCall
from grpcmesh.errors import MeshError, Unauthenticated
from tests.unit.fakes import TOKENS

NOW = 1_000.0
METHOD = Method.parse("/s.S/M", Kind.SERVER_STREAM)


class Source:
    """A key source with a revocation list."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.revocations: list[Revocation] = []

    async def fetch(self) -> Mapping[str, PublicKey]:
        return {"k": self.key.public_key()}

    def token(self, user_id: int, session: str = "") -> str:
        issuer = TokenIssuer(self.key, "k", TOKENS, lambda: NOW)
        return issuer.issue(user_id, "bob", ["user"], 600, session)


async def verifier(source: Source) -> TokenVerifier:
    made = TokenVerifier(TOKENS, source, lambda: NOW + 10)
    assert await made.refresh()
    return made


@pytest.mark.parametrize(
    ("revocation", "void"),
    [
        (Revocation(user_id=2, issued_until=NOW), True),
        (Revocation(user_id=2, issued_until=NOW - 1), False),
        (Revocation(user_id=3, issued_until=NOW), False),
        (Revocation(session="s"), True),
        (Revocation(session="t"), False),
        (Revocation(issued_until=NOW), True),  # everybody's
    ],
)
async def test_a_token_that_was_good_is_void_once_it_is_on_the_list(
    revocation: Revocation, void: bool
) -> None:
    source = Source()
    made, token = await verifier(source), source.token(2, "s")
    assert made.verify(token).session == "s"
    source.revocations.append(revocation)
    assert made.verify(token)  # until the list is fetched
    await made.refresh()
    if void:
        with pytest.raises(Unauthenticated, match="revoked"):
            made.verify(token)
    else:
        assert made.verify(token)


def served(metadata: Mapping[str, str]) -> ServerCall:
    return ServerCall(METHOD, cast(Any, None), 0.0, metadata)


class Connections:
    """A server's running streams."""

    def __init__(self, *calls: ServerCall) -> None:
        self.calls, self.told = calls, list[tuple[ServerCall, MeshError]]()

    def close(self, peer: str, reason: str) -> None:
        raise AssertionError("no connection is to be closed")

    def end_streams(self, which: Callable[[ServerCall], bool], error: Callable[[], MeshError]) -> int:
        ending = [(call, error()) for call in self.calls if which(call)]
        self.told += ending
        return len(ending)


async def test_running_streams_of_a_revoked_token_end() -> None:
    source = Source()
    made = await verifier(source)
    layer = UserLayer(made, lambda _: UserRule())
    calls = []
    for user_id in (2, 3):
        call = served({"authorization": f"Bearer {source.token(user_id)}"})
        layer.on_start(call)
        calls.append(call)
    connections = Connections(*calls, served({}))
    layer.attach(connections)
    source.revocations.append(Revocation(user_id=2, issued_until=NOW))
    await made.refresh()
    await made.refresh()  # the same list again ends nothing twice
    ((call, error),) = connections.told
    assert call.principal == calls[0].principal
    assert isinstance(error, Unauthenticated)


@given(
    st.lists(st.builds(Revocation, st.integers(0, 3), st.sampled_from(["", "s", "t"]), st.floats(0, 2000)))
)
def test_a_list_covers_what_one_of_its_entries_covers(entries: list[Revocation]) -> None:
    revocations = Revocations(entries)
    for user_id in (1, 2):
        for session in ("", "s"):
            principal = Principal(user_id, "x", issued_at=1000.0, session=session)
            expected = any(
                e.session == session if e.session else e.user_id in (0, user_id) and e.issued_until >= 1000
                for e in entries
            )
            assert revocations.cover(principal) == expected
