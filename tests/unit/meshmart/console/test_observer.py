"""From status and pages to the mesh: states, shares, and the calls between services."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmart.console import frame, observer, series
from meshmart.console.history import History
from meshmart.console.model import State
from meshmart.console.services import SILENCE
from meshmart.console.window import SPAN
from tests.unit.meshmart.console.pages import EPOCH, Mesh, replica, status


def shop() -> Mesh:
    """Two callers and two products."""
    mesh = Mesh(product=[replica(1), replica(2)], order=[replica(1, 2), replica(2, 2)])
    for name in ("product-1", "product-2"):
        mesh.process(name).serves("ProductService", 0)
    for name in ("order-1", "order-2"):
        mesh.process(name).knows("product", "127.0.1.1:50051", "127.0.1.2:50051")
        mesh.process(name).serves("OrderService", 0)
    mesh.look()
    return mesh


def test_a_service_is_the_sum_of_its_replicas_and_each_has_its_share() -> None:
    mesh = shop()
    mesh.process("product-1").serves("ProductService", 30)
    mesh.process("product-2").serves("ProductService", 10, code="Internal")
    product, _ = mesh.look().services
    assert (product.traffic.rate, product.traffic.failing) == (8.0, 2.0)
    assert product.traffic.success == 0.75
    assert [r.share for r in product.replicas] == [0.75, 0.25]
    assert (product.traffic.calls, product.traffic.failures) == (40, 10)
    assert product.traffic.p99 == pytest.approx(0.01, rel=0.5)


def test_an_edge_is_what_the_callers_processes_count() -> None:
    mesh = shop()
    mesh.process("order-1").calls("product", "ProductService", 20)
    mesh.process("order-2").calls("product", "ProductService", 20)
    mesh.process("order-2").calls("product", "ProductService", 10, code="Unavailable")
    mesh.process("order-2").count("mesh_retries", 5, target="product")
    for name in ("order-1", "order-2"):
        mesh.process(name).gauge("mesh_retry_budget_allowed", 100, target="product")
        mesh.process(name).gauge("mesh_breaker_limit", 1024, target="product", limit="concurrent")
        mesh.process(name).gauge("mesh_breaker_limit", 9, target="product", limit="pending")
    (edge,) = mesh.look().edges
    assert (edge.source, edge.target, edge.callers) == ("order", "product", 2)
    assert (edge.traffic.rate, edge.traffic.failing, edge.retries) == (10.0, 2.0, 1.0)
    assert (edge.traffic.calls, edge.traffic.failures) == (50, 10)
    assert (edge.budget_allowed, edge.breaker_limit) == (200, 2048)
    assert edge.failing


def test_an_edge_fails_from_one_percent_on_and_recovers_only_below_a_tenth_of_it() -> None:
    mesh = shop()
    seen = []
    for failures in (0, 5, 20, 5, 0):
        mesh.process("order-1").calls("product", "ProductService", 1000 - failures)
        mesh.process("order-1").calls("product", "ProductService", failures, code="Unavailable")
        seen.append(mesh.look(SPAN).edges[0].failing)  # the window holds this round only
    assert seen == [False, False, True, True, False]


def test_a_target_outside_the_cluster_is_no_edge() -> None:
    mesh = shop()
    mesh.process("order-1").count("mesh_picks", 5, target="bank.example", endpoint="192.0.2.1:443")
    mesh.process("order-1").count("mesh_picks", 5, target="product.meshmart.svc", endpoint="x")
    assert [(e.source, e.target) for e in mesh.look().edges] == [("order", "product")]


def test_ejected_means_by_k_of_n_callers() -> None:
    mesh = shop()
    address = "127.0.1.2:50051"
    mesh.process("order-2").gauge("mesh_outlier_endpoint_ejected", 1, target="product", endpoint=address)
    product, _ = mesh.look().services
    assert [r.state for r in product.replicas] == [State.READY, State.EJECTED]
    assert product.replicas[1].note == "ejected by 1 of 2 callers"


def test_a_process_that_calls_a_replica_by_two_names_is_one_caller() -> None:
    mesh = shop()
    address = "127.0.1.2:50051"
    for target in ("product", "product.meshmart.svc", "catalogue"):
        mesh.process("order-2").knows(target, address)
        mesh.process("order-2").gauge("mesh_outlier_endpoint_ejected", 1, target=target, endpoint=address)
    mesh.process("order-1").gauge("mesh_outlier_endpoint_ejected", 0, target="product", endpoint=address)
    product, _ = mesh.look().services
    assert product.replicas[1].note == "ejected by 1 of 2 callers"


@pytest.mark.parametrize(
    ("told", "state", "note"),
    [
        ({"ready": True}, State.READY, ""),
        ({"ready": False}, State.BROKEN, "its health probe fails"),
        ({"ready": False, "draining": True}, State.DRAINING, "finishes its calls and takes no new ones"),
        (
            {"ready": False, "pid": None, "restarts": 1},
            State.BROKEN,
            "its process has ended and is started again",
        ),
        ({"ready": False, "pid": 999, "restarts": 1}, State.STARTING, ""),
        ({"ready": False, "pid": None}, State.STARTING, ""),
    ],
)
def test_the_state_of_a_replica(told: dict[str, object], state: State, note: str) -> None:
    mesh = shop()
    mesh.services["product"][1] = replica(2, **told)
    product, _ = mesh.look().services
    assert (product.replicas[1].state, product.replicas[1].note) == (state, note)


def test_a_replica_that_says_not_serving_is_broken_with_that_word() -> None:
    mesh = shop()
    mesh.process("product-2").gauge("mesh_serving", 0)
    mesh.services["product"][1] = replica(2, ready=False)
    assert mesh.look().services[0].replicas[1].note == "NOT_SERVING"


def test_a_process_that_drains_by_itself_says_so() -> None:
    mesh = shop()
    mesh.process("product-2").gauge("mesh_draining", 1)
    assert mesh.look().services[0].replicas[1].state is State.DRAINING


def test_a_ready_replica_whose_admin_port_is_silent_for_long_is_broken() -> None:
    mesh = shop()
    del mesh.processes["product-2"]
    mesh.observer.silent("product-2", mesh.now)
    assert mesh.look(SILENCE - 1).services[0].replicas[1].state is State.READY
    mesh.observer.silent("product-2", mesh.now)
    broken = mesh.look(1).services[0].replicas[1]
    assert (broken.state, broken.note) == (State.BROKEN, "its admin port has not answered for 5 s")
    mesh.process("product-2")
    assert mesh.look(1).services[0].replicas[1].state is State.READY


def test_a_restarted_process_has_no_rate_until_it_was_read_twice() -> None:
    mesh = shop()
    mesh.process("product-1").serves("ProductService", 1000)
    mesh.look()
    del mesh.processes["product-1"]
    mesh.services["product"][0] = replica(1, pid=77, restarts=1)
    mesh.process("product-1").serves("ProductService", 5)
    assert mesh.look().services[0].replicas[0].traffic.rate == 0
    mesh.process("product-1").serves("ProductService", 5)
    assert mesh.look().services[0].replicas[0].traffic.rate == 1.0


def test_a_certificate_and_an_outbox_are_shown() -> None:
    mesh = shop()
    mesh.process("order-1").certificate("abcdef", EPOCH + 60)
    mesh.process("order-2").certificate("abcdef", EPOCH + 30)
    for topic, pending in (("stock", 3), ("mail", 4)):
        mesh.process("order-1").gauge("shop_outbox_pending", pending, topic=topic)
        mesh.process("order-1").gauge("shop_outbox_oldest_seconds", pending, topic=topic)
    order = mesh.look().services[1]
    assert [c.not_after for c in order.certificates] == [EPOCH + 30, EPOCH + 60]
    assert order.outbox is not None
    assert (order.outbox.pending, order.outbox.oldest) == (7, 4.0)


def test_pages_of_replicas_that_are_gone_are_ignored() -> None:
    mesh = shop()
    mesh.observer.page("product-9", mesh.process("product-1").page(), mesh.now)
    mesh.observer.silent("product-9", mesh.now)
    assert [r.name for r in mesh.look().services[0].replicas] == ["product-1", "product-2"]


def test_services_and_replicas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "MAX_REPLICAS", 3)
    monkeypatch.setattr(observer, "MAX_SERVICES", 2)
    seen = observer.Observer()
    services = {f"s{i}": [replica(n, i) for n in range(1, 4)] for i in range(4)}
    seen.cluster(status(**services))
    assert (len(seen.services), len(seen.watched)) == (2, 3)


def test_a_frame_has_the_mesh_and_leaves_out_what_is_zero() -> None:
    mesh = shop()
    mesh.process("order-1").calls("product", "ProductService", 20)
    told = json.loads(frame.encode(mesh.look(), [], {"interval": 1.1}))
    assert told["at"] == EPOCH + mesh.now
    assert told["interval"] == 1.1
    (edge,) = told["edges"]
    assert (edge["source"], edge["target"], edge["calls"], edge["rate"]) == ("order", "product", 20, 4.0)
    assert "failures" not in edge
    assert [r["name"] for r in told["services"][0]["replicas"]] == ["product-1", "product-2"]


def test_hostile_values_still_make_a_frame() -> None:
    mesh = shop()
    for name in ("order-1", "order-2"):
        process = mesh.process(name)
        process.gauge("mesh_admission_limit", 1e300)
        process.gauge("mesh_admission_in_flight", -1e15)
        process.gauge("mesh_breaker_limit", float("nan"), target="product", limit="concurrent")
        process.count("mesh_retries", 1e15, target="product")
        process.gauge("mesh_outlier_endpoint_ejected", 1, target="product\x00<script>", endpoint="\x1b")
    json.loads(frame.encode(mesh.look(), [], {}))


@pytest.mark.parametrize("bound", ["NaN", "1e308", "-1e308", "-Inf", "1e16", "-1", "x", ""])
def test_a_bucket_whose_bound_is_no_latency_is_left_out(bound: str) -> None:
    mesh, points = shop(), History()
    for calls in (0, 100):
        page = "process_start_time_seconds 1\n"
        for side in ("server", "client"):
            for le in (bound, "0.25", "+Inf"):
                labels = f'grpc_type="unary",grpc_service="a.B",le="{le}"'
                page += f"grpc_{side}_handling_seconds_bucket{{{labels}}} {calls}\n"
        mesh.now += 5
        mesh.observer.page("product-1", page, mesh.now)
    snapshot = mesh.observer.snapshot(mesh.now, EPOCH + mesh.now)
    points.add(snapshot)
    assert snapshot.services[0].traffic.p99 == pytest.approx(0.2475)
    json.loads(frame.encode(snapshot, [], {}))
    json.dumps(points.read(["product"]), allow_nan=False)


SAMPLES = st.tuples(
    st.sampled_from(series.NAMES),
    st.dictionaries(
        st.sampled_from(
            ["grpc_service", "grpc_code", "le", "target", "endpoint", "serial", "topic", "limit"]
        ),
        st.sampled_from(
            ["NaN", "1e308", "-1e308", "+Inf", "-Inf", "0.1", "1e15", "product", "\u202e<b>", ""]
        ),
    ),
    st.sampled_from(["NaN", "1e308", "1e15", "-1e15", "0", "-1", "1", "+Inf", "1e-320"]),
)


@given(st.lists(st.lists(SAMPLES, max_size=20), min_size=2, max_size=4))
def test_no_pages_break_a_frame_or_the_charts(pages: list[list[tuple[str, dict[str, str], str]]]) -> None:
    mesh, points = shop(), History()
    for page in pages:
        lines = [
            name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} " + value
            for name, labels, value in page
        ]
        mesh.now += 1e-6
        for name in ("product-1", "product-2", "order-1"):
            mesh.observer.page(name, "\n".join(lines), mesh.now)
    snapshot = mesh.observer.snapshot(mesh.now, EPOCH + mesh.now)
    points.add(snapshot)
    json.loads(frame.encode(snapshot, [], {}))
    for series_name in (["product"], ["product", "product-1"], ["order", "order-1"]):
        json.dumps(points.read(series_name), allow_nan=False)
