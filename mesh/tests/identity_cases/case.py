"""One identity, and the list that the others register in."""

from collections.abc import Callable
from dataclasses import dataclass

from grpcmesh.identity import Cause, Material
from tests.pki import Authority, Pair


@dataclass(frozen=True)
class Case:
    """One identity, valid or not, and the expected diagnosis.

    Args:
        cause: The first problem. None if the identity is valid.
        grpc: Whether real gRPC peers accept it all the same, in either role. Where this is not the opposite
            of a cause, the mesh is stricter: `why` says for what reason.
    """

    name: str
    files: Material
    cause: Cause | None
    grpc: bool
    why: str = ""

    def __str__(self) -> str:
        return self.name


CASES: list[Case] = []
ROOT = Authority()
_Made = Material | Pair


def case(
    cause: Cause | None, grpc: bool | None = None, why: str = ""
) -> Callable[[Callable[[], _Made]], None]:
    """Register the identity that the function makes; a pair is shown over the bundle ROOT."""

    def register(make: Callable[[], _Made]) -> None:
        made = make()
        files = over(made) if isinstance(made, Pair) else made
        name = make.__name__.replace("_", " ").strip()
        CASES.append(Case(name, files, cause, cause is None if grpc is None else grpc, why))

    return register


def over(pair: Pair, *bundle: Authority) -> Material:
    """Return the pair's files, with a bundle of these CAs."""
    return Material(pair.crt, pair.key_pem, b"".join(ca.pem for ca in bundle or (ROOT,)))
