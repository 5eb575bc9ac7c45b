"""Invalid values from peers and files are counted, and otherwise have no effect."""

import math
import os
import random
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh import status
from grpcmesh.admission import AdmissionLayer
from grpcmesh.authz import Policy, PolicyError, PolicyStore
from grpcmesh.authz.store import MAX_FILE
from grpcmesh.bad_values import Kind, bad_values
from grpcmesh.balancer import Endpoint, LoadReport, State
from grpcmesh.balancer.orca import MAX_REPORT
from grpcmesh.balancer.policy import SlowStart
from grpcmesh.balancer.weighted import WeightedRoundRobin
from grpcmesh.config import AdmissionConfig, AuthzConfig
from grpcmesh.retry import pushback_of
from grpcmesh.testing.clock import VirtualClock
from tests.unit.fakes import call


class Counted:
    """A context manager that asserts how many invalid values of a kind are counted."""

    def __init__(self, kind: Kind, many: int = 1) -> None:
        self._kind, self._many = kind, many

    def __enter__(self) -> None:
        self._before = bad_values.counts[self._kind]

    def __exit__(self, *exc_info: object) -> None:
        assert bad_values.counts[self._kind] - self._before == self._many


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, -5e-324, 1e308, 1.1e9])
@pytest.mark.parametrize("field", [1, 6, 7, 9])
def test_a_load_report_that_cannot_be_is_no_report(field: int, value: float) -> None:
    with Counted("load_report"):
        assert LoadReport.decode(double(1, 0.5) + double(6, 10.0) + double(field, value)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 50,
        b"\x09",
        double(1, 1.0)[:-1],
        b"\x0a\x7f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0b",
        b"\x0f" + b"x" * 8,
        double(10, 1.0) * (MAX_REPORT // 9 + 1),
    ],
)
def test_what_is_no_load_report_is_counted(data: bytes) -> None:
    with Counted("load_report"):
        assert LoadReport.decode(data) is None


def test_a_load_report_may_hold_more_than_is_used_and_the_last_value_counts() -> None:
    more = b"\x42\x05abcde" + b"\x10\x07" + b"\x1d" + b"1234" + double(10, math.nan)
    report = LoadReport.decode(double(1, 9.0) + more + double(1, 0.5) + double(6, 10.0))
    assert report == LoadReport(cpu_utilization=0.5, qps=10.0)


numbers = st.floats(0, 1e9, allow_subnormal=True)


def picks(endpoints: list[Endpoint], reports: Iterable[LoadReport | None], count: int = 300) -> list[int]:
    """Return how often each endpoint is picked once the blackout period of its reports is over."""
    clock = VirtualClock()
    policy = WeightedRoundRobin(SlowStart(0.0, clock), clock, random.Random(1), blackout=0.0)
    for endpoint in endpoints:
        endpoint.state, endpoint.picks = State.READY, 0
    policy.update(endpoints)
    for endpoint, report in zip(endpoints, reports, strict=True):
        if report is not None:
            policy.reported(endpoint, report)
    clock.advance(1.0)
    for _ in range(count):
        policy.pick().picks += 1
    return [e.picks for e in endpoints]


@given(
    st.lists(
        st.binary(max_size=60) | st.builds(LoadReport, numbers, numbers, numbers, numbers),
        min_size=2,
        max_size=5,
    )
)
def test_whatever_servers_report_calls_are_picked_for(reports: list[bytes | LoadReport]) -> None:
    read = [LoadReport.decode(r if isinstance(r, bytes) else r.encode()) for r in reports]
    for report in read:
        assert report is None or 0 <= report.weight() < math.inf
    assert sum(picks([Endpoint(str(i)) for i in range(len(read))], read)) == 300


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("250", 0.25), ("2147483647", 2147483.647), ("-1", -0.001)]
)
def test_a_pushback_is_read(value: str, seconds: float) -> None:
    with Counted("pushback", 0):
        assert pushback_of([("x", "1"), (status.PUSHBACK_KEY, value)]) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        " 5",
        "+5",
        "1_000",
        "1e3",
        "nan",
        "inf",
        "٥",
        "2147483648",
        "9" * 5000,
        "0x10",
        "5\n",
        b"5",
        "\x1b[31m",
    ],
)
def test_a_pushback_that_is_no_number_forbids_the_retry(value: str | bytes) -> None:
    with Counted("pushback"):
        assert pushback_of([(status.PUSHBACK_KEY, value)]) == -1.0


@given(st.text() | st.binary() | st.integers().map(str))
def test_any_pushback_is_a_bounded_wait_or_none(value: str | bytes) -> None:
    seconds = pushback_of([(status.PUSHBACK_KEY, value)])
    assert seconds is not None
    assert -(2**31) < seconds < 2**31 / 1000


def packed(*details: Any) -> bytes:
    made = status_pb2.Status(code=3, message="no")
    for detail in details:
        if isinstance(detail, any_pb2.Any):
            made.details.append(detail)
        else:
            made.details.add().Pack(detail)
    return made.SerializeToString()


INFO = error_details_pb2.ErrorInfo(reason="WHY")


@pytest.mark.parametrize("value", [b"\xff\xff", b"\x0a", packed(INFO)[:-1], "text", None, 7])
def test_status_details_that_cannot_be_read_are_none(value: Any) -> None:
    with Counted("status_details"):
        assert status.from_wire([(status.DETAILS_KEY, value)]) is None


def test_a_detail_that_is_not_what_it_says_is_left_out_and_the_others_stay() -> None:
    bad = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    unknown = any_pb2.Any(type_url="type.googleapis.com/shop.Unknown", value=b"\xff")
    with Counted("status_details"):
        wire = status.from_wire([(status.DETAILS_KEY, packed(bad, unknown, INFO))])
    assert wire is not None
    assert [d.type_url.rpartition("/")[2] for d in wire.details] == ["shop.Unknown", "google.rpc.ErrorInfo"]


details = st.builds(
    any_pb2.Any,
    type_url=st.sampled_from(
        ["", "x", "/", "type.googleapis.com/google.rpc.RetryInfo", "a/google.rpc.BadRequest"]
    ),
    value=st.binary(max_size=20) | st.just(duration_pb2.Duration(seconds=-(2**62)).SerializeToString()),
)


@given(st.binary(max_size=200) | st.lists(details, max_size=4).map(lambda found: packed(*found)))
def test_details_that_are_returned_can_be_unpacked(data: bytes) -> None:
    wire = status.from_wire([(status.DETAILS_KEY, data)])
    for detail in wire.details if wire else ():
        for known in (error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()):
            detail.Unpack(known)


@pytest.mark.parametrize("replica", ["product-1", "product-7c9f-x2", "127.0.0.1:50051", "a"])
def test_a_replica_is_read(replica: str) -> None:
    assert status.replica_of([(status.REPLICA_KEY, replica)]) == replica


@pytest.mark.parametrize(
    "replica",
    ["", "a\nb", "\x1b[2J", "a\x00", "<b>", "-a", "a" * 254, "prödukt", "a b", b"product-1", "a\u202eb"],
)
def test_a_replica_that_is_no_name_is_left_out(replica: Any) -> None:
    with Counted("replica"):
        assert status.replica_of([(status.REPLICA_KEY, replica)]) == ""
    assert status.replica_of(None) == ""


GOOD = "[[allow]]\nfrom = ['a']\nmethods = ['s.S/M']\n"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "x = " + "{a=" * 5000,
        "a" + ".a" * 3000 + " = 1",
        "x = " + "9" * 5000,
        "x = 1e999999",
        "x = nan",
        "x = 0000-00-00",
        "\x00",
        "[[allow]]\nfrom = ['a']\nmethods = ['s.S/M\\u0000']",
        "[[allow]]\nfrom = ['" + "x" * 100_000 + " ']\nmethods = ['s.S/M']",
        "allow = [1, {}, []]",
        "allow = [[]]",
        "[users]\n's.S/M' = {}",
        "[users]\n's.S/M' = ['']",
        "[users]\n's.S/M\\n' = 'user'",
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(PolicyError) as e:
        Policy.parse(text)
    assert str(e.value).isprintable()
    assert len(str(e.value)) <= 2000


toml = st.lists(
    st.sampled_from(
        ["[", "]", "[[allow]]", "[users]", "from", "methods", "=", "'a'", "\n", "{", "}", ",", ".", "1"]
    ),
    max_size=40,
).map("".join)


@given(st.text() | toml)
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    try:
        Policy.parse(text)
    except PolicyError as e:
        told = str(e)
    else:
        return
    assert told.isprintable()


class Stored:
    """A store that has a good policy, and the file it was read from."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "policy.toml"
        self.path.write_text(GOOD)
        self.store = PolicyStore(AuthzConfig(self.path))
        self.store.load()

    def keeps(self) -> bool:
        """Return whether a poll keeps the settings in use and records a problem."""
        before = self.store.current
        return not self.store.poll() and self.store.current is before and bool(self.store._problem)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"\xff\xfe",
        b"\x7fELF" + bytes(range(256)),
        b"x = " + b"[" * 10_000,
        b"#" * (MAX_FILE + 1),
        GOOD.encode() + b"\0" * 10,
    ],
    ids=["empty", "blank", "not UTF-8", "binary", "deep", "huge", "NUL"],
)
def test_whatever_the_file_becomes_the_last_good_policy_stays(tmp_path: Path, content: bytes) -> None:
    stored = Stored(tmp_path)
    stored.path.write_bytes(content)
    assert stored.keeps()
    stored.path.write_text(GOOD + "# again")
    assert stored.store.poll()


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "gone"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    stored = Stored(tmp_path)
    stored.path.unlink()
    if kind == "pipe":
        os.mkfifo(stored.path)
    elif kind == "directory":
        stored.path.mkdir()
    elif kind == "device":
        stored.path.symlink_to("/dev/zero")
    assert stored.keeps()


def test_a_file_that_changes_while_it_is_read_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(tmp_path)
    real, looks = os.fstat, 0

    def fstat(fd: int) -> os.stat_result:
        nonlocal looks
        looks += 1
        if looks == 2:
            with stored.path.open("a") as file:
                file.write("# more\n")
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    stored.path.write_text(GOOD + "# changed\n")
    assert stored.keeps()
    assert "is being written" in stored.store._problem
    assert stored.store.poll()


def test_an_empty_file_denies_everything_where_it_is_there_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    store = PolicyStore(AuthzConfig(path))
    store.load()
    assert store.current == Policy()


@pytest.mark.parametrize("told", ["", "soon", "-5000", "9" * 400, "9" * 5000, "1e3", "nan", b"7"])
def test_a_timeout_on_its_way_that_is_no_number_does_not_refuse_the_call(told: Any) -> None:
    layer = AdmissionLayer(AdmissionConfig(), 1 << 20)
    served = call()
    served.deadline, served.metadata = served.started + 1.0, {status.TIMEOUT_KEY: told}
    with Counted("timeout", 0 if told == b"7" else 1):
        layer.on_start(served)
