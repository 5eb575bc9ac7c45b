"""`meshmart load`: what README and the acceptance of the balancer rest on."""

import json

import pytest

from tests.e2e.conftest import RunningCluster

pytestmark = pytest.mark.tour


def test_three_replicas_share_a_hundred_calls_a_second(cluster: RunningCluster) -> None:
    cluster.meshmart("scale", "product=3")
    # A replica that the load reaches a second after the others warms up for ten: it takes less until then.
    done = cluster.run("load", "--rps", "100", "--duration", "20s", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["errors"]) == (0, 0)
    assert report["calls"] >= 1980
    shares = report["shares"]["product"]
    assert sorted(shares["replicas"]) == ["product/1", "product/2", "product/3"]
    assert shares["max_over_min"] <= 1.05
    by_method = shares["methods"]["GetProduct"]
    assert sorted(by_method["replicas"]) == ["product/1", "product/2", "product/3"]
    assert (by_method["max_over_min"] <= 1.05, by_method["uneven"]) == (True, False)


def test_a_scenario_that_is_not_there_is_a_clear_error(cluster: RunningCluster) -> None:
    done = cluster.run("load", "--scenario", "steal")
    assert done.returncode == 1
    assert done.stderr.startswith("meshmart: there is no scenario 'steal'; there are ")
