"""The longer charts when Prometheus does not answer as it should. With a real one: tests/observability."""

import json

import pytest

from meshmart.console import prometheus
from meshmart.console.choice import Choice
from tests.integration.meshmart.test_console import PATIENCE, OddPort

ORDER = Choice("order", ())


def answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


REFUSED = json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error"}).encode()


@pytest.mark.parametrize(
    ("told", "endless", "problem"),
    [
        (b"", False, "not within 0.5 s"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", False, "not within 0.5 s"),
        (answer("400 Bad Request", REFUSED), False, "it answers with the status 400"),
        (answer("500 Internal Server Error", b""), False, "it answers with the status 500"),
        (answer("503 Service Unavailable", b"starting"), False, "it answers with the status 503"),
        (answer("302 Found", b""), False, "it answers with the status 302"),
        (answer("200 OK", b"[" + b"1," * prometheus.MAX_ANSWER), False, "more than 131072 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", True, "more than 131072 bytes"),
        (answer("200 OK", b"<html>"), False, "is not JSON"),
        (answer("200 OK", b"[" * 100_000), False, "is not JSON"),
    ],
    ids=["slow", "stalls", "400", "500", "starting", "redirect", "huge", "endless", "page", "nested"],
)
async def test_a_prometheus_that_does_not_answer_well_is_said_and_costs_no_more_than_its_bounds(
    monkeypatch: pytest.MonkeyPatch, told: bytes, endless: bool, problem: str
) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT", 0.5 if "within" in problem else PATIENCE)
    async with OddPort(told, endless) as port:
        read = await prometheus.read(f"http://127.0.0.1:{port}", "shop", ORDER, 1, 1e9, ())
    found = json.loads(read)
    assert found.keys() == {"problem"}
    assert problem in found["problem"]
    # It is shown to a person: the query is left out.
    assert "query=" not in found["problem"]


@pytest.mark.parametrize(
    "body",
    [
        REFUSED,
        b"null",
        b"{}",
        b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
        b'{"status":"success","data":{"result":[{"metric":{},"values":[[1e9,"NaN"],[1e9,"+Inf"],[1e300,"1"]]}]}}',
        b'{"status":"success","data":{"result":[{"values":[["x","1"]]}]}}',
    ],
    ids=["error", "null", "empty", "no series", "no numbers", "no times"],
)
async def test_an_answer_without_values_is_a_chart_without_points(body: bytes) -> None:
    async with OddPort(answer("200 OK", body)) as port:
        read = await prometheus.read(f"http://127.0.0.1:{port}", "shop", ORDER, 6, 1e9, ())
    found = json.loads(read)
    assert found["points"] == [[None, None, None]] * prometheus.POINTS
    assert (found["step"], found["until"]) == (120, int(1e9) // 120 * 120)


@pytest.mark.parametrize("server", ["https://127.0.0.1:1", "http://", "http://127.0.0.1:x", "nonsense"])
async def test_what_is_no_url_of_a_prometheus_is_said(server: str) -> None:
    read = await prometheus.read(server, "shop", ORDER, 1, 1e9, ())
    assert "is not an http URL" in json.loads(read)["problem"]
