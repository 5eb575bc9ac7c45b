"""Leases: renewed by the command, kept in a Deployment's annotations."""

import asyncio
from copy import deepcopy
from typing import Any

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError, LeaseEndedError
from meshmart.kubernetes import leasing
from meshmart.leases import Leases


def test_what_is_held_is_renewed_until_it_is_dropped_or_the_command_ends() -> None:
    async def test() -> None:
        renewed = {"a": 0, "b": 0}

        def renew(name: str) -> Any:
            async def count() -> None:
                renewed[name] += 1

            return count

        async with Leases(lambda _: None, every=10) as leases:
            leases.hold("a", renew("a"))
            leases.hold("b", renew("b"))
            await asyncio.sleep(35)
            leases.drop("a")
            await asyncio.sleep(20)
        await asyncio.sleep(100)
        assert renewed == {"a": 3, "b": 5}

    run_in_virtual_time(test())


def test_a_renewal_that_fails_hangs_or_breaks_is_told_and_the_others_go_on() -> None:
    async def test() -> None:
        told: list[str] = []
        renewed = 0

        async def refused() -> None:
            raise ClusterError("no such replica")

        async def hangs() -> None:
            await asyncio.sleep(10_000)

        async def breaks() -> None:
            raise KeyError("replicas")

        async def good() -> None:
            nonlocal renewed
            renewed += 1

        renewals = {"refused": refused, "hangs": hangs, "breaks": breaks, "good": good}
        async with Leases(told.append, every=10) as leases:
            for what, renew in renewals.items():
                leases.hold(what, renew)
            await asyncio.sleep(45)
        assert renewed >= 2
        assert sorted(line.split()[3] for line in told) == ["breaks", "hangs", "refused"]

    run_in_virtual_time(test())


def test_a_lease_that_another_ended_is_told_once_until_it_can_be_renewed_again() -> None:
    async def test() -> None:
        told: list[str] = []
        ended = True

        async def renew() -> None:
            if ended:
                raise ClusterError("there is no lease of product")

        async with Leases(told.append, every=10) as leases:
            leases.hold("product", renew)
            await asyncio.sleep(3600)
            assert len(told) == 1
            ended = False
            await asyncio.sleep(20)
            ended = True
            await asyncio.sleep(60)
            assert len(told) == 2

    run_in_virtual_time(test())


def test_a_lease_of_what_somebody_else_has_ended_is_told_and_not_renewed_any_more() -> None:
    async def test() -> None:
        ended: list[object] = []
        asked = 0

        async def renew() -> None:
            nonlocal asked
            asked += 1
            raise LeaseEndedError("somebody else has ended it")

        async def note(what: object) -> None:
            ended.append(what)

        async with Leases(lambda _: None, every=10) as leases:
            leases.ended = note
            leases.hold("product/2", renew)
            await asyncio.sleep(60)
        assert (ended, asked) == (["product/2"], 1)

    run_in_virtual_time(test())


def deployment(replicas: int, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "product", "resourceVersion": "7", "annotations": annotations}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


def merged(thing: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396, as the API server does it."""
    for key, value in patch.items():
        if isinstance(value, dict):
            thing[key] = merged(thing.get(key, {}), value)
        elif value is None:
            thing.pop(key, None)
        else:
            thing[key] = value
    return thing


def test_a_deployment_says_how_many_it_had_and_until_when() -> None:
    product = deployment(2)
    assert leasing.before(product) is None
    product = merged(product, leasing.taken(product, 3, 30, now=1000))
    assert (product["spec"]["replicas"], leasing.before(product)) == (3, 2)
    assert (leasing.over(product, 1029), leasing.over(product, 1031)) == (False, True)
    product = merged(product, leasing.renewed(30, now=1020))
    assert not leasing.over(product, 1049)


def test_a_second_lease_keeps_the_number_of_the_first() -> None:
    product = deployment(2)
    for replicas in (3, 5):
        product = merged(product, leasing.taken(product, replicas, 30, now=1000))
    assert (product["spec"]["replicas"], leasing.before(product)) == (5, 2)


def test_two_that_take_a_lease_at_once_do_not_both_succeed() -> None:
    assert leasing.taken(deployment(2), 3, 30, now=0)["metadata"]["resourceVersion"] == "7"


def test_what_is_scaled_for_good_has_no_lease() -> None:
    product = merged(deployment(2), leasing.taken(deployment(2), 3, 30, now=1000))
    product = merged(product, leasing.forgotten(4))
    assert (product["spec"]["replicas"], leasing.before(product)) == (4, None)


def test_a_number_that_somebody_has_set_meanwhile_is_what_it_has() -> None:
    """`kubectl scale` and `helm upgrade` know of no lease."""
    product = merged(deployment(2), leasing.taken(deployment(2), 3, 30, now=1000))
    product["spec"]["replicas"] = 5
    assert leasing.before(product) is None
    again = merged(deepcopy(product), leasing.taken(product, 4, 30, now=1010))
    assert leasing.before(again) == 5
    product = merged(product, leasing.expired(product, now=1031) or {})
    assert (product["spec"]["replicas"], product["metadata"]["annotations"]) == (5, {})


def test_an_expired_lease_ends_with_the_number_of_before() -> None:
    product = merged(deployment(2), leasing.taken(deployment(2), 3, 30, now=1000))
    assert leasing.expired(product, now=1029) is None
    product = merged(product, leasing.expired(product, now=1031) or {})
    assert (product["spec"]["replicas"], product["metadata"]["annotations"]) == (2, {})
    assert leasing.expired(product, now=1031) is None


def test_a_lease_of_the_release_before_does_not_tell_its_number_and_is_restored() -> None:
    product = deployment(3, **{leasing.BEFORE: "2", leasing.UNTIL: "1000"})
    assert leasing.before(product) == 2


def test_a_lease_that_cannot_be_read_is_over() -> None:
    assert leasing.over(deployment(3, **{leasing.BEFORE: "2", leasing.UNTIL: "soon"}), 0)
    assert leasing.before(deployment(3, **{leasing.BEFORE: "-2"})) is None
