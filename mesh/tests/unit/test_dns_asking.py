"""Which nameservers are asked and when, in virtual time. They are read from resolv.conf."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.bad_values import bad_values
from grpcmesh.config import ConfigError, ResolverConfig
from grpcmesh.resolver.answers import Answer
from grpcmesh.resolver.asking import Asking, LookupFailedError
from grpcmesh.resolver.exchange import QueryError
from grpcmesh.resolver.nameservers import (
    MAX_NAMESERVERS,
    Directory,
    Nameserver,
    Nameservers,
    parse_resolv_conf,
    tries,
)
from grpcmesh.resolver.wire import A, Question, encode_name
from grpcmesh.testing.clock import run_in_virtual_time

QUESTION = Question(encode_name("x."), A)
ONE, TWO = Nameserver("10.0.0.1"), Nameserver("10.0.0.2")
ANSWER = Answer((b"\x7f\0\0\1",), 5.0)


class Net:
    """Nameservers that answer after some seconds, fail at once (an error), or never answer (None).

    `answers` gives one entry for each query to the server, the last for ever.
    """

    def __init__(self, **answers: list[float | str | None]) -> None:
        self.answers = answers
        self.log: list[tuple[float, str, bool]] = []
        self.running = 0

    async def __call__(self, server: Nameserver, question: Question, tcp: bool) -> Answer:
        name = {ONE: "one", TWO: "two"}[server]
        self.log.append((round(asyncio.get_running_loop().time() - 1000, 3), name, tcp))
        script = self.answers[name]
        step = script.pop(0) if len(script) > 1 else script[0]
        self.running += 1
        try:
            if step is None:
                await asyncio.Event().wait()
            if isinstance(step, str):
                raise QueryError(step)
            await asyncio.sleep(step)
            return ANSWER
        finally:
            self.running -= 1


class Fixed(Directory):
    def __init__(self, nameservers: Nameservers) -> None:
        self.nameservers = nameservers

    def current(self) -> Nameservers:
        return self.nameservers


def ask(net: Net, nameservers: Nameservers, timeout: float = 2.0) -> tuple[Answer | LookupFailedError, float]:
    """Return the outcome of a look-up, and the seconds that it took."""
    asking = Asking(Fixed(nameservers), 0.4, net)

    async def scenario() -> tuple[Answer | LookupFailedError, float]:
        try:
            outcome: Answer | LookupFailedError = await asking(QUESTION, timeout)
        except LookupFailedError as e:
            outcome = e
        return outcome, round(asyncio.get_running_loop().time() - 1000, 3)

    result = run_in_virtual_time(scenario())
    assert net.running == 0
    return result


def test_a_query_that_is_lost_is_sent_again_after_the_interval() -> None:
    net = Net(one=[None, 0.01])
    assert ask(net, Nameservers((ONE,))) == (ANSWER, 0.41)


def test_a_nameserver_that_stays_silent_is_asked_less_and_less() -> None:
    net = Net(one=[None])
    outcome, seconds = ask(net, Nameservers((ONE,)), timeout=4.0)
    assert isinstance(outcome, LookupFailedError)
    assert (outcome.result, seconds) == ("timeout", 4.0)
    assert [at for at, _, _ in net.log] == [0.0, 0.4, 1.2, 2.8]


def test_a_slow_answer_counts_though_others_were_asked_meanwhile() -> None:
    net = Net(one=[1.5], two=[None])
    assert ask(net, Nameservers((ONE, TWO))) == (ANSWER, 1.5)
    assert [name for _, name, _ in net.log] == ["one", "two", "one"]


def test_all_nameservers_are_asked_in_turn() -> None:
    net = Net(one=[None], two=[None, 0.0])
    assert ask(net, Nameservers((ONE, TWO))) == (ANSWER, 1.6)
    assert [(at, name) for at, name, _ in net.log] == [(0.0, "one"), (0.4, "two"), (0.8, "one"), (1.6, "two")]


def test_a_nameserver_that_fails_is_not_asked_again_and_the_next_one_at_once() -> None:
    net = Net(one=["SERVFAIL"], two=[None, 0.0])
    assert ask(net, Nameservers((ONE, TWO))) == (ANSWER, 0.4)
    assert [(at, name) for at, name, _ in net.log] == [(0.0, "one"), (0.0, "two"), (0.4, "two")]


def test_where_all_fail_the_look_up_fails_at_once_and_names_them() -> None:
    outcome, seconds = ask(Net(one=["SERVFAIL"], two=["REFUSED"]), Nameservers((ONE, TWO)))
    assert isinstance(outcome, LookupFailedError)
    assert (outcome.result, seconds) == ("error", 0.0)
    assert str(outcome) == "x. A: no answer from DNS: 10.0.0.1:53 SERVFAIL, 10.0.0.2:53 REFUSED"


def test_an_error_that_comes_late_ends_the_look_up() -> None:
    class Late(Net):
        async def __call__(self, server: Nameserver, question: Question, tcp: bool) -> Answer:
            await asyncio.sleep(1.0)
            return await super().__call__(server, question, tcp)

    outcome, seconds = ask(Late(one=["SERVFAIL"]), Nameservers((ONE,), attempts=1))
    assert isinstance(outcome, LookupFailedError)
    assert seconds == 1.0


def test_the_options_of_resolv_conf_are_honoured_within_the_time_of_a_look_up() -> None:
    net = Net(one=[None], two=[None])
    ask(net, Nameservers((ONE, TWO), timeout=5.0, attempts=1, tcp=True))
    assert net.log == [(0.0, "one", True), (1.0, "two", True)]


@pytest.mark.parametrize("count", [3, MAX_NAMESERVERS])
@pytest.mark.parametrize("timeout", [None, 1.0, 2.0, 30.0])
def test_the_last_nameserver_answers_while_all_others_are_silent(count: int, timeout: float | None) -> None:
    """Whatever `options timeout:` says, the last one is asked with time left for its answer."""
    *silent, alive = [Nameserver(f"10.0.1.{i}") for i in range(count)]

    async def net(server: Nameserver, question: Question, tcp: bool) -> Answer:
        await (asyncio.sleep(0.1) if server == alive else asyncio.Event().wait())
        return ANSWER

    asking = Asking(Fixed(Nameservers((*silent, alive), timeout=timeout)), 0.4, net)
    assert run_in_virtual_time(asking(QUESTION, 2.0)) == ANSWER


def test_rotate_begins_each_look_up_with_another_nameserver() -> None:
    net = Net(one=[0.0], two=[0.0])
    asking = Asking(Fixed(Nameservers((ONE, TWO), rotate=True)), 0.4, net)

    async def scenario() -> None:
        for _ in range(4):
            await asking(QUESTION, 1.0)

    run_in_virtual_time(scenario())
    assert [name for _, name, _ in net.log] == ["two", "one", "two", "one"]


def test_a_look_up_without_time_asks_nobody() -> None:
    net = Net(one=[0.0])
    outcome, _ = ask(net, Nameservers((ONE,)), timeout=0.0)
    assert isinstance(outcome, LookupFailedError)
    assert net.log == []


def test_queries_are_counted_by_nameserver_and_a_changing_list_adds_no_labels_for_ever() -> None:
    net = Net(one=["SERVFAIL"], two=[None, 0.0])
    asking = Asking(Fixed(Nameservers((ONE, TWO))), 0.4, net)
    run_in_virtual_time(asking(QUESTION, 2.0))
    assert asking.queries == {
        ("10.0.0.1:53", "error"): 1,
        ("10.0.0.2:53", "answered"): 1,
        ("10.0.0.2:53", "unanswered"): 1,
    }

    async def answers(server: Nameserver, question: Question, tcp: bool) -> Answer:
        return ANSWER

    many = Asking(Fixed(Nameservers()), 0.4, answers)

    async def scenario() -> None:
        for i in range(200):
            many._directory = Fixed(Nameservers((Nameserver(f"10.1.0.{i}"),)))
            await many(QUESTION, 1.0)

    run_in_virtual_time(scenario())
    assert len(many.queries) <= 49
    assert sum(many.queries.values()) == 200


@given(
    st.lists(st.sampled_from([ONE, TWO]), min_size=1, max_size=MAX_NAMESERVERS, unique=True),
    st.floats(0.01, 10),
    st.none() | st.integers(1, 5),
    st.floats(0.01, 60),
)
def test_a_plan_ends_and_asks_everybody(
    servers: list[Nameserver], interval: float, attempts: int | None, until: float
) -> None:
    plan = list(tries(servers, interval, attempts, until))
    assert {server for server, _ in plan} == set(servers)
    assert len(plan) <= len(servers) * (until / interval + 1)
    assert attempts is None or len(plan) <= len(servers) * attempts


def test_resolv_conf_is_read_as_the_c_library_reads_it() -> None:
    text = """
    # a comment
    search shop.svc.cluster.local svc.cluster.local
    nameserver 10.96.0.10 ; the cluster's
    nameserver fe80::1%eth0
    nameserver [::1]
    options ndots:5 timeout:3 attempts:2 rotate use-vc edns0
    """
    read = parse_resolv_conf(text)
    assert read.servers == (Nameserver("10.96.0.10"), Nameserver("fe80::1%eth0"), Nameserver("::1"))
    assert (read.timeout, read.attempts, read.rotate, read.tcp) == (3, 2, True, True)


@pytest.mark.parametrize("text", ["", "search x", "nameserver", "nameserver not-an-address", "\0\xff"])
def test_without_a_nameserver_that_of_this_machine_is_asked(text: str) -> None:
    assert parse_resolv_conf(text).servers == (Nameserver("127.0.0.1"),)


@pytest.mark.parametrize(
    ("options", "timeout", "attempts"),
    [
        ("timeout:0 attempts:0", 1, 1),
        ("timeout:999999 attempts:999", 30, 5),
        ("timeout:x attempts:-1", None, None),
        ("timeout attempts:", None, None),
        ("timeout:" + "9" * 5000, None, None),
        ("timeout:٣", None, None),
    ],
)
def test_odd_options_are_bounded_or_ignored(options: str, timeout: int | None, attempts: int | None) -> None:
    read = parse_resolv_conf(f"nameserver 10.0.0.1\noptions {options}")
    assert (read.timeout, read.attempts) == (timeout, attempts)


@given(
    st.text()
    | st.lists(st.sampled_from(["nameserver", "options", " ", ":", "10.0.0.1", "\n", "rotate"])).map("".join)
)
def test_any_text_gives_between_one_and_the_most_nameservers(text: str) -> None:
    assert 1 <= len(parse_resolv_conf(text).servers) <= MAX_NAMESERVERS


@pytest.mark.parametrize("scope", ["ü", "\ufffd", "x" * 64])
def test_a_scope_that_no_interface_can_have_is_no_nameserver(scope: str) -> None:
    """For some of them the socket module raises a UnicodeError, which ended the look-up."""
    read = parse_resolv_conf(f"nameserver fe80::1%{scope}\nnameserver 10.0.0.1")
    assert read.servers == (ONE,)


def test_a_line_that_names_no_nameserver_is_counted() -> None:
    before = bad_values.counts["resolv_conf"]
    parse_resolv_conf("nameserver 10.0.0.300\nnameserver 10.0.0.1")
    assert bad_values.counts["resolv_conf"] - before == 1


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    directory = Directory(ResolverConfig(resolv_conf=path))
    assert directory.current().servers == (Nameserver("127.0.0.1"),)  # it is not there yet
    path.write_text("nameserver 10.0.0.1")
    assert directory.current().servers == (ONE,)
    replacement = tmp_path / "new"
    replacement.write_text("nameserver 10.0.0.2")
    os.replace(replacement, path)
    assert directory.current().servers == (TWO,)
    path.unlink()
    assert directory.current().servers == (TWO,)
    path.mkdir()
    assert directory.current().servers == (TWO,)
    path.rmdir()
    path.write_bytes(b"nameserver 10.0.0.1\n" + b"\xff" * 1_000_000)
    assert directory.current().servers == (ONE,)


def test_the_configuration_may_name_several_nameservers() -> None:
    config = ResolverConfig(nameserver="10.0.0.1, [::1]:5353,10.0.0.2:54")
    servers = Directory(config).current().servers
    assert servers == (ONE, Nameserver("::1", 5353), Nameserver("10.0.0.2", 54))
    assert str(servers[1]) == "[::1]:5353"


@pytest.mark.parametrize("nameserver", ["dns.example.com", "10.0.0.1:0", "10.0.0.1,", ":53"])
def test_a_nameserver_that_is_none_is_refused_at_start(nameserver: str) -> None:
    with pytest.raises(ConfigError, match=r"resolver\.nameserver: .* is not ADDRESS:PORT"):
        ResolverConfig(nameserver=nameserver)
