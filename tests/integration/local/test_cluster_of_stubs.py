"""The supervisor with real processes that do nothing but answer probes."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from local.certs import OPERATOR
from local.errors import ClusterError
from local.presented import presented_serial
from local.probes import Answer, HealthClient
from tests.integration.local.helpers import PRODUCT, alive, cluster, environ, eventually
from tests.integration.local.stub_cluster import PROBES, ROLLOUT


async def test_a_cluster_comes_up_is_found_in_dns_and_leaves_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        addresses = {r.place.host for r in c.replicas()}
        assert len(addresses) == 2
        assert await c.resolve() == addresses
        assert "storefront-1" in await c.page()
        pids = c.pids()
        assert len(pids) == 3
    assert not any(alive(pid) for pid in pids)


async def test_a_killed_replica_leaves_dns_at_once_and_comes_back(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        victim, other = c.replicas()
        pid = await c.do("kill", service="product", replica=1)
        assert await c.resolve() == {other.place.host}
        await eventually(lambda: victim.ready)
        assert victim.restarts == 1
        assert victim.pid != pid
        assert any("killed by SIGKILL" in e.text for e in c.events)


async def test_a_replica_that_hangs_is_taken_out_then_killed_and_restarted(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        victim = c.replicas()[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGSTOP)
        await eventually(lambda: not victim.ready)
        await eventually(lambda: victim.restarts == 1)
        await eventually(lambda: victim.ready)


async def test_a_paused_replica_hangs_and_stays_listed_until_it_is_resumed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        victim = c.replicas()[0]
        pid = await c.do("pause", service="product", replica=1)
        # What would get one that hangs by itself killed.
        await asyncio.sleep(PROBES.live_failures * (PROBES.failure_period + PROBES.timeout))
        assert victim.ready
        assert victim.pid == pid
        async with aclosing(HealthClient(victim.place.at(victim.place.health), 0.5)) as health:
            assert await health.check() is Answer.NONE
            await c.do("resume", service="product", replica=1)
            async with asyncio.timeout(15):
                while await health.check() is not Answer.SERVING:
                    pass
        assert victim.restarts == 0


async def test_a_paused_replica_can_be_killed_and_can_drain(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        victim, other = c.replicas()
        await c.do("pause", service="product", replica=1)
        await c.do("kill", service="product", replica=1)
        await eventually(lambda: victim.ready)
        await c.do("pause", service="product", replica=2)
        async with asyncio.timeout(ROLLOUT.grace):
            await other.stop(ROLLOUT.grace)


async def test_replicas_that_are_not_serving_leave_dns_but_live(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        pids = c.pids()
        sick = c.supervisor.state.data / "sick"
        sick.touch()
        await eventually(lambda: not any(r.ready for r in c.supervisor.replicas()))
        assert await c.resolve() is None
        assert "503 Service Unavailable" in await c.page()
        sick.unlink()
        await eventually(lambda: all(r.ready for r in c.supervisor.replicas()))
        assert c.pids() == pids


async def test_a_replica_that_crashes_at_start_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "crash").touch()
    with pytest.raises(ClusterError, match="does not become ready") as failure:
        async with cluster(tmp_path):
            pass
    assert "told to crash" in failure.value.detail


async def test_nothing_else_is_started_before_what_the_first_page_needs_is_ready(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "crash").touch()
    with pytest.raises(ClusterError, match="product-1 does not become ready"):
        async with cluster(tmp_path):
            pass
    assert (tmp_path / "logs" / "product-1.log").exists()
    assert not (tmp_path / "logs" / "storefront-1.log").exists()


async def test_scaling_adds_and_drains(tmp_path: Path) -> None:
    async with cluster(tmp_path, product=1) as c:
        await c.do("scale", service="product", replicas=3)
        assert len(await c.resolve() or ()) == 3
        surplus = c.replicas()[1:]
        await c.do("scale", service="product", replicas=1)
        assert await c.resolve() == {c.replicas()[0].place.host}
        assert all(r.pid is None for r in surplus)
        assert c.replicas()[0].restarts == 0


async def test_scaling_to_nothing_and_back(tmp_path: Path) -> None:
    async with cluster(tmp_path, product=1) as c:
        await c.do("scale", service="product", replicas=0)
        assert await c.resolve() is None
        await c.do("scale", service="product", replicas=1)
        assert len(await c.resolve() or ()) == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_a_rolling_restart_replaces_all_and_always_keeps_one_in_service(
    tmp_path: Path, count: int
) -> None:
    async with cluster(tmp_path, product=count) as c:
        before = {r.pid for r in c.replicas()}
        restart = asyncio.create_task(c.do("restart", service="product"))
        fewest = count
        while not restart.done():
            fewest = min(fewest, len(await c.resolve() or ()))
            await asyncio.sleep(0.01)
        await restart
        assert fewest == max(1, count - 1)
        assert len(c.replicas()) == count
        assert not before & {r.pid for r in c.replicas()}


async def test_a_restart_whose_stand_in_never_gets_ready_leaves_the_lone_replica_serving(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, product=1) as c:
        (c.supervisor.state.data / "crash").touch()
        pid = c.replicas()[0].pid
        with pytest.raises(ClusterError, match="product-2 does not become ready"):
            await c.do("restart", service="product")
        assert [r.pid for r in c.replicas()] == [pid]
        assert len(await c.resolve() or ()) == 1


async def test_no_request_of_the_page_fails_while_the_storefront_restarts(tmp_path: Path) -> None:
    async with cluster(tmp_path, storefront=2) as c:
        restart = asyncio.create_task(c.do("restart", service="storefront"))
        answers = []
        while not restart.done():
            answers.append(await c.page())
        await restart
    assert len(answers) > 50
    assert all(answer.startswith("HTTP/1.1 200") for answer in answers)


async def test_rotation_ends_when_every_replica_presents_its_new_certificate(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        serials = await c.do("rotate")
        directory = c.supervisor.state.certs / OPERATOR
        for replica in c.replicas():
            name = PRODUCT.rstrip(".")
            serial = await presented_serial(replica.place.host, replica.place.mesh, name, directory)
            assert f"{serial:x}" == serials["product"]


async def test_a_lease_is_not_renewed_when_somebody_else_has_ended_the_pause_or_has_scaled(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as c:
        pause = {"service": "product", "replica": 1, "lease": 60.0}
        await c.do("pause", **pause)
        assert await c.do("renew", **pause) is True
        await c.do("kill", service="product", replica=1)
        assert await c.do("renew", **pause) is False
        mine, other = {"replicas": 3, "lease": 60.0}, {"replicas": 1, "lease": 60.0}
        await c.do("scale", service="product", **mine)
        assert await c.do("renew", service="product", **mine) is True
        await c.do("scale", service="product", **other)
        assert await c.do("renew", service="product", **mine) is False
        assert await c.do("renew", service="product", **other) is True
        await c.do("scale", service="product", replicas=2)
        assert await c.do("renew", service="product", **other) is False


async def test_dns_fails_until_it_is_mended_or_nobody_renews_the_lease(tmp_path: Path) -> None:
    async with cluster(tmp_path, product=1) as running:
        there = await running.resolve()
        assert there
        with pytest.raises(ClusterError, match="lease"):
            await running.do("break_dns", outage="servfail")
        await running.do("break_dns", outage="servfail", lease=60.0)
        assert await running.resolve() == set()
        await running.do("mend_dns")
        assert await running.resolve() == there
        await running.do("break_dns", outage="silent", lease=0.05)
        await eventually(lambda: running.supervisor.dns.zone.outage is None)
        assert await running.resolve() == there


async def test_the_number_of_replicas_is_restored_whatever_was_under_way_when_a_lease_was_taken(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, product=1) as c:
        # A rolling restart of one replica runs a second one for the time being.
        restart = asyncio.create_task(c.do("restart", service="product"))
        await eventually(lambda: len(c.replicas()) == 2)
        await c.do("scale", service="product", replicas=3, lease=60.0)
        await restart
        # The next lease is taken while the replicas of the first one leave.
        restore = asyncio.create_task(c.do("restore", service="product"))
        await eventually(lambda: any(r.stopping for r in c.replicas()))
        await c.do("scale", service="product", replicas=2, lease=60.0)
        await restore
        assert await c.do("restore", service="product") == 1


async def test_what_is_not_there_cannot_be_changed(tmp_path: Path) -> None:
    async with cluster(tmp_path, product=1) as c:
        for verb, arguments, problem in [
            ("scale", {"service": "nobody", "replicas": 1}, "no service 'nobody'"),
            ("scale", {"service": "product", "replicas": 1000}, "from 0 to"),
            ("kill", {"service": "product", "replica": 9}, "no product/9; there are product/1"),
            ("dance", {}, "not a request"),
        ]:
            with pytest.raises(ClusterError, match=problem):
                await c.do(verb, **arguments)


async def test_going_down_in_the_middle_of_a_restart_leaves_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        restart = asyncio.create_task(c.do("restart", service="product"))
        await eventually(lambda: len([r for r in c.replicas() if r.ready]) == 1)
        pids = c.pids()
        await c.do("down")
        with pytest.raises(ClusterError, match="stopping"):
            await restart
        assert not any(alive(pid) for pid in pids)


async def test_where_only_one_address_answers_replicas_have_ports_of_their_own_in_srv(tmp_path: Path) -> None:
    async with cluster(tmp_path, environ(MESHMART_LOOPBACK="single")) as c:
        found = await c.resolve("_grpc._tcp." + PRODUCT, "SRV")
        expected = {f"0 1 {r.place.mesh} {r.name}.{PRODUCT}" for r in c.replicas()}
        assert found is not None
        assert expected <= found
        assert "storefront-1" in await c.page()
