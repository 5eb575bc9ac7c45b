"""The cluster of bench/skew.py, in a process of its own, and how the load commands it.

The process is the cluster's DNS, too. It does not share an event loop with the load, so that a look-up is
answered in time although the load computes. It reads a command a line from its standard input (`upgrade`,
`back`), answers `@done`, and stops the shop at the end of the input.
"""

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import Self

from skew_shop import MixedSupervisor, Release, running

from local.catalog import SHOP
from local.errors import ClusterError
from local.options import Options

_OWN = Path(__file__).resolve().parents[1]
#: The services whose replicas --kill kills: those whose sagas another replica resumes.
KILLED = ("order", "payment")
#: The new storefront passes visitors' own tokens on while replicas of the other release remain
#: (docs/operations.md, "Old and new replicas side by side").
ALONGSIDE = {"storefront": {"MESHMART_NARROW_TOKENS": "false"}}
#: The file of the state directory with the addresses of the ready storefronts.
_WEB = "storefronts"
_READY, _DONE = "@ready", "@done"


class Ways:
    """The upgrade and the way back, replica by replica.

    Args:
        shop: The running shop.
        before: The release that it began with.
        after: The other one.
        killed: The services whose replicas are killed.
        rng: Chooses the order of the services.
    """

    def __init__(
        self,
        shop: MixedSupervisor,
        before: Release,
        after: Release,
        killed: tuple[str, ...],
        rng: random.Random,
    ) -> None:
        self._shop, self._before, self._after, self._killed, self._rng = shop, before, after, killed, rng
        self._began = time.monotonic()

    async def upgrade(self) -> None:
        self._shop.set_policy(self._after, self._after.policy)
        self._say("migrations of the new release")
        await self._shop.migrate(self._after)
        self._shop.settings |= ALONGSIDE
        await self._all(self._after, self._before)
        self._shop.settings |= {service: {} for service in ALONGSIDE}
        await self._replace("storefront", self._after)

    async def back(self) -> None:
        self._shop.settings |= ALONGSIDE
        await self._replace("storefront", self._after)
        self._shop.set_policy(self._before, self._before.policy)
        await self._all(self._before, self._after)

    async def _all(self, to: Release, leaving: Release) -> None:
        """Replace every service. Half-way the replicas that are left get the policy of the other release."""
        services = [name for name, spec in SHOP.items() if spec.replicas]
        self._rng.shuffle(services)
        for n, service in enumerate(services):
            if n == len(services) // 2:
                self._say(f"the replicas of {leaving.name} read the policy of {to.name}")
                self._shop.set_policy(leaving, to.policy)
            await self._replace(service, to)

    async def _replace(self, service: str, to: Release) -> None:
        how = self._shop.replace_by_kill if service in self._killed else self._shop.replace
        self._say(f"{service}: {to.name}")
        await how(service, to, lambda _: None)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {time.strftime('%H:%M:%S')}  {text}", flush=True)


class Mixed:
    """The cluster's process, as the load sees it.

    Args:
        command: The command line of this file: see `main`.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        await self._until(_READY)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop the shop."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._until("")
        await self._process.wait()

    async def do(self, command: str) -> None:
        """Carry out a command. Raises ClusterError if the process ends."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._until(_DONE)

    async def _until(self, wanted: str) -> None:
        """Pass the output on until a line; empty: until its end."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.decode().strip() == wanted:
                return
            print(line.decode(), end="", flush=True)
        if wanted:
            raise ClusterError("the process of the cluster has ended")


def storefronts(state_dir: Path) -> list[str]:
    """Return the addresses of the ready storefronts, such as `http://127.100.8.1:8080`."""
    return (state_dir / _WEB).read_text().split()


def _tell(shop: MixedSupervisor, file: Path) -> None:
    """Write the file of the ready storefronts."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(shop.web_addresses()))
    new.replace(file)


async def _keep_telling(shop: MixedSupervisor, file: Path) -> None:
    while True:
        await shop.changes.change()
        _tell(shop, file)


async def _serve(before: Release, state_dir: Path, seed: int, killed: tuple[str, ...]) -> None:
    after, rng = Release("after", _OWN, sys.executable), random.Random(seed)
    environ = {"MESHMART_LOOPBACK": f"127.{rng.randrange(100, 250)}", **os.environ}
    supervisor = MixedSupervisor(before, Options(state_dir, port=0), environ)
    async with running(supervisor):
        _tell(supervisor, state_dir / _WEB)
        telling = asyncio.create_task(_keep_telling(supervisor, state_dir / _WEB))
        ways = Ways(supervisor, before, after, killed, rng)
        print(_READY, flush=True)
        while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await {"upgrade": ways.upgrade, "back": ways.back}[command]()
            print(_DONE, flush=True)
        telling.cancel()


def main(tree: str, python: str, state_dir: str, seed: str, *killed: str) -> None:
    """Run the cluster until the end of the input.

    Args:
        tree: The work tree of the other release.
        python: Its interpreter.
        state_dir: A new directory.
        seed: Seed of the order of the services.
        killed: The services whose replicas are killed instead of drained.
    """
    asyncio.run(_serve(Release("before", Path(tree), python), Path(state_dir), int(seed), killed))


if __name__ == "__main__":
    main(*sys.argv[1:])
