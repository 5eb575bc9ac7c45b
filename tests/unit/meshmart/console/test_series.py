"""A metrics page as the console reads it: the same numbers, and nothing that a hostile page could break."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from meshmart.console import codes, series
from meshmart.console.series import Parser
from tests.unit.meshmart.console.pages import Process


def test_the_values_are_those_of_prometheus_own_parser() -> None:
    process = Process()
    process.serves("ProductService", 7)
    process.serves("ProductService", 2, code="Internal")
    process.calls("user", "UserService", 3, endpoint='odd"\\name:1')
    page = process.page()
    values = Parser().parse(page).values
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    handled = sum(s.value for s in samples if s.name == "grpc_server_handled_total")
    assert values["served", "OK"] + values["served", "Internal"] == handled == 9
    assert values["served", "Internal"] == 2
    (picked,) = [s for s in samples if s.name == "mesh_picks_total"]
    assert values["picks", "user", picked.labels["endpoint"]] == picked.value == 3


def test_grpcs_own_services_and_the_duration_of_streams_are_left_out() -> None:
    process = Process()
    about = {"grpc_service": "grpc.health.v1.Health", "grpc_method": "Watch", "grpc_type": "server_stream"}
    process.count("grpc_server_handled", 5, **about, grpc_code="OK")
    process.count("grpc_server_started", 5, **about)
    stream = about | {"grpc_service": "ecommerce.ChatService"}
    process.observe("grpc_server_handling_seconds", 600, **stream)
    process.count("grpc_server_handled", 1, **stream, grpc_code="OK")
    values = Parser().parse(process.page()).values
    assert values["served", "OK"] == 1
    assert not [key for key in values if key[0] in ("serve_le", "provides")]


def test_codes_that_the_server_is_not_to_blame_for_are_no_failures() -> None:
    process = Process()
    for code in ("NotFound", "Cancelled", "PermissionDenied"):
        process.serves("ProductService", code=code)
        assert Parser().parse(process.page()).values["served", code] == 1
        assert not codes.failed(code)


@pytest.mark.parametrize(
    "line",
    [
        "mesh_admission_limit",
        "mesh_admission_limit x",
        "mesh_admission_limit NaN",
        "mesh_admission_limit 1e300",
        "mesh_admission_limit +Inf",
        "mesh_picks_total{" + "x" * 10_000 + "} 1",
        "\x00\ufffd\x1b[2J",
    ],
)
def test_garbage_is_left_out_and_said(line: str) -> None:
    page = Parser().parse(f"{line}\nmesh_admission_in_flight 3\n")
    assert page.values == {("in_flight",): 3.0}
    assert not page.complete


def test_a_series_without_its_labels_is_left_out() -> None:
    assert Parser().parse('mesh_picks_total{target="user"} 1\n').values == {}


def test_a_huge_page_is_read_up_to_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MAX_LINES", 100)
    monkeypatch.setattr(series, "MAX_VALUES", 40)
    lines = [f'mesh_picks_total{{target="user",endpoint="{i}"}} 1' for i in range(1000)]
    page = Parser().parse("\n".join(lines))
    assert len(page.values) == 40
    assert not page.complete


def test_labels_behind_garbage_are_not_searched_for() -> None:
    good = 'mesh_picks_total{target="user", endpoint="x" } 1\n'
    page = Parser().parse(good + 'mesh_picks_total{y,target="user",endpoint="y"} 1\n')
    assert page.values == {("picks", "user", "x"): 1.0}


def test_a_page_of_garbage_takes_linear_time() -> None:
    """With a search in each line, it would take minutes, in which the console would do nothing else."""
    lines = [f"mesh_serving{{{'a' * 1900}{i:09d}}} 1" for i in range(1000)]
    assert Parser().parse("\n".join(lines)).values == {("serving",): 1000.0}


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "REMEMBERED", 50)
    parser = Parser()
    for round_ in range(20):
        page = "\n".join(f'mesh_picks_total{{target="user",endpoint="{round_}-{i}"}} 1' for i in range(30))
        assert len(parser.parse(page).values) == 30
        assert len(parser._meanings) <= 50


@given(st.text(alphabet=st.sampled_from('mesh_picks_total{}",=\\ \n1e+.NaIf#\x00é')))
def test_no_text_raises_and_every_value_is_finite(text: str) -> None:
    assert all(math.isfinite(value) for value in Parser().parse(text).values.values())
