"""Arguments of actions are typed and bounded, whatever a page sends."""

import contextlib
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmart.console.refusal import RefusedError
from meshmart.console.switches.actions import ACTIONS, CODES, MAX_RPS
from meshmart.console.switches.arguments import parse

FAULT = {"service": "product", "kind": "delay"}


def parsed(action: str, **given: Any) -> dict[str, Any]:
    return parse(ACTIONS[action].parameters, given)


def test_what_is_not_given_has_a_default() -> None:
    assert parsed("fault", **FAULT) == {
        "service": "product",
        "replica": 0,
        "method": "",
        "kind": "delay",
        "delay_ms": 300.0,
        "code": "UNAVAILABLE",
        "share": 1.0,
        "seconds": 300.0,
    }


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("kill", {"service": "product"}, "replica must be a number from 1"),
        ("kill", {"service": "product", "replica": 0}, "replica must be a number from 1"),
        ("kill", {"service": "product", "replica": 1.5}, "replica must be a whole number"),
        ("kill", {"service": "product", "replica": "1"}, "replica must be"),
        ("kill", {"service": "product", "replica": True}, "replica must be"),
        ("kill", {"service": "product", "replica": float("nan")}, "replica must be"),
        ("kill", {"service": "../etc", "replica": 1}, "service must be a name"),
        ("kill", {"service": "", "replica": 1}, "service must be a name"),
        ("kill", {"service": ["product"], "replica": 1}, "service must be a name"),
        ("kill", {"service": "product", "replica": 1, "signal": 9}, "there is no argument 'signal'"),
        ("load", {"rps": MAX_RPS + 1}, "rps must be a number from 0.1 to 50"),
        ("load", {"rps": float("inf")}, "rps must be"),
        ("load", {"scenario": "everything"}, "scenario must be one of mix"),
        ("load", {"seconds": 1e9}, "seconds must be a number from 5 to 3600"),
        ("fault", FAULT | {"share": 0}, "share must be"),
        ("fault", FAULT | {"kind": "explode"}, "kind must be one of delay, error, hang"),
        ("fault", FAULT | {"code": "OK"}, "code must be one of UNAVAILABLE"),
        ("fault", FAULT | {"method": "a b"}, "method must be a name"),
        ("scale", {"service": "product", "replicas": 11}, "replicas must be a number from 0 to 10"),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_words(action: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        parsed(action, **given)
    assert refused.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(ACTIONS)), st.data())
def test_no_value_whatever_raises_anything_else(action: str, data: st.DataObject) -> None:
    names = [p.name for p in ACTIONS[action].parameters]
    given = {name: data.draw(JSON) for name in names} | data.draw(
        st.dictionaries(st.text(), JSON, max_size=1)
    )
    with contextlib.suppress(RefusedError):
        assert parsed(action, **given).keys() == set(names)


def test_every_action_has_words_and_a_form() -> None:
    for action in ACTIONS.values():
        some = {"service": "product", "replica": 1, "replicas": 3}
        given = {p.name: some[p.name] for p in action.parameters if p.name in some}
        words = action.words.format(**parse(action.parameters, given))
        assert words
        assert "{" not in words
        assert [p["name"] for p in action.told()["parameters"]] == [p.name for p in action.parameters]
        assert action.disturbs == any(p.name == "seconds" for p in action.parameters)


def test_a_fault_may_answer_with_every_code_of_grpc_but_ok() -> None:
    assert sorted(CODES) == sorted(code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK)
