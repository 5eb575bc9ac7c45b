"""The settings of a choice, from what a replica says."""

from typing import Any

import pytest

from meshmart.console import settings
from meshmart.console.choice import find
from meshmart.console.observer import Observer
from tests.unit.meshmart.console.pages import replica, status


def setting(name: str, value: str = "1", source: str = "default") -> dict[str, str]:
    return {"name": name, "value": value, "source": source}


TOLD = {
    "": [setting("MESH_SERVICE", "order"), setting("MESH_RETRY_MAX_ATTEMPTS", "3", "environment")],
    "product.shop.svc.cluster.local": [setting("product: port", "50051", "MESH_RESOLVER_PORT")],
    "user": [setting("user: port")],
}


def test_a_process_has_its_own_settings_and_those_of_its_targets() -> None:
    found = settings.rows(TOLD)
    names = [name for name, _, _ in found]
    assert names == ["MESH_SERVICE", "MESH_RETRY_MAX_ATTEMPTS", "product: port", "user: port"]
    assert found[1] == ["MESH_RETRY_MAX_ATTEMPTS", "3", "environment"]


def test_an_edge_has_what_concerns_the_calls_to_its_target() -> None:
    found = settings.rows(TOLD, "product")
    assert [name for name, _, _ in found] == ["product: port", "MESH_RETRY_MAX_ATTEMPTS"]


@pytest.mark.parametrize(
    "told",
    [None, [], "x", {"": None}, {"": [None, 1, "x", [], {}, {"name": "a", "value": 1, "source": "b"}]}],
)
def test_what_is_no_setting_is_left_out(told: Any) -> None:
    assert settings.rows(told) == []


def test_rows_and_texts_are_bounded() -> None:
    told = {"": [setting("x" * 9_999, "y" * 9_999)] * 9_999}
    found = settings.rows(told)
    assert len(found) == settings.MAX_ROWS
    assert max(len(text) for row in found for text in row) == settings.MAX_TEXT


def test_a_choice_is_of_the_replicas_that_are_ready_first() -> None:
    observer = Observer()
    observer.cluster(status(product=[replica(1, ready=False), replica(2)], order=[replica(1, 2)]))

    def of(*name: str) -> Any:
        found = find(observer, name)
        return found and ([w.name for w in found.replicas], found.replica, found.target)

    assert of("product") == (["product-2", "product-1"], "", "")
    assert of("product", "product-1") == (["product-1"], "product-1", "")
    assert of("edge", "order", "product") == (["order-1"], "", "product")
    nothing = [(), ("nothing",), ("order", "product-1"), ("edge", "order"), ("edge", "order", "nothing")]
    assert [of(*name) for name in nothing] == [None] * 5
