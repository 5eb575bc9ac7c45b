"""The scene `rotate-certs`: every certificate is renewed under load."""

from meshmart.chaos import victims
from meshmart.tour.check import Check
from meshmart.tour.peer import server_serial
from meshmart.tour.stage import SceneError, Stage, no_failed_calls

NAME = "rotate-certs"
SHOWS = "every certificate is renewed under load; both sides present the new one and no call fails"


async def play(stage: Stage) -> list[Check]:
    await stage.with_replicas("product", 3)
    servers, client = await _serials(stage), stage.client_serial()
    async with stage.browsing() as reading, await stage.buying() as writing:
        await stage.settle(reading, 100)
        stage.say("rotating every certificate")
        await stage.cluster.rotate()
        renewed = await _renewed(stage, servers, client)
        await stage.settle(reading, 200)
    return [
        Check("replicas that present a new serial", renewed, len(servers), relation="=="),
        Check("client that presents a new serial", stage.client_serial() != client, 1, relation="=="),
        no_failed_calls(stage, reading, "reads"),
        no_failed_calls(stage, writing, "calls of checkouts"),
    ]


async def _serials(stage: Stage) -> dict[str, int]:
    """Return the serial that each replica presents in a handshake, by `service/id`."""
    serials = {}
    for service in await victims(stage.cluster):
        for replica in await stage.cluster.endpoints(service):
            serials[f"{service}/{replica.id}"] = await server_serial(replica, stage.cluster.certificates)
    return serials


async def _renewed(stage: Stage, before: dict[str, int], client: int) -> int:
    """Return how many replicas present another serial than before, once all and the client do, or after the
    timeout.
    """
    count = 0

    async def look() -> bool | None:
        nonlocal count
        now = await _serials(stage)
        count = sum(now[name] != serial for name, serial in before.items())
        return True if count == len(before) and stage.client_serial() != client else None

    try:
        await stage.until(look, "new serials on both sides", 15, interval=0.5)
    except SceneError:
        stage.say(f"only {count} of {len(before)} replicas present a new serial")
    return count
