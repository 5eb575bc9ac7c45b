"""Which settings apply if there are several sources, and the effect of a change of the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.config import ConfigError
from grpcmesh.service_config import Effective, ServiceConfig, ServiceConfigStore
from grpcmesh.service_config.parse import from_json


def timeouts(seconds: float, service: str = "") -> dict[str, Any]:
    name = {"service": service} if service else {}
    return {"methodConfig": [{"name": [name], "timeout": f"{seconds}s"}]}


def breaker(most: int) -> dict[str, Any]:
    return {"circuitBreaker": {"maxConcurrentRequests": most}}


def timeout(found: Effective, service: str = "a.B") -> float | None:
    method = found.config.method(service, "C")
    return method.timeout if method else None


class File:
    def __init__(self, path: Path, content: Any) -> None:
        self.path = path
        self.write(content)

    def write(self, content: Any) -> None:
        self.path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "mesh.json", {})


def loaded(
    file: File, inline: Any = None, code: dict[str, ServiceConfig] | None = None
) -> ServiceConfigStore:
    store = ServiceConfigStore(file.path, json.dumps(inline) if inline else "", code)
    store.load()
    return store


def test_the_environment_goes_before_the_file_and_the_file_before_the_code(file: File) -> None:
    file.write({"product": timeouts(2)})
    code = {"product": from_json(timeouts(3) | breaker(9)), "order": from_json(timeouts(4))}
    store = loaded(file, {"product": breaker(7)}, code)
    product = store.effective("product")
    assert timeout(product) == 2
    assert product.config.circuit_breaker is not None
    assert product.config.circuit_breaker.max_concurrent_requests == 7
    assert dict(product.origins) == {
        "methodConfig every method": str(file.path),
        "circuitBreaker": "MESH_SERVICE_CONFIG_INLINE",
    }
    assert timeout(store.effective("order")) == 4
    assert store.effective("user") == Effective()


def test_what_is_said_of_a_target_goes_before_what_is_said_of_every_target(file: File) -> None:
    file.write({"product": timeouts(2, "a.B")})
    store = loaded(file, {"*": timeouts(1) | breaker(5)})
    product = store.effective("product")
    assert (timeout(product), timeout(product, "x.Y")) == (2, 1)
    assert product.origins["circuitBreaker"] == "MESH_SERVICE_CONFIG_INLINE (*)"


def test_a_changed_file_is_taken_and_told_to_whom_it_concerns(file: File) -> None:
    file.write({"product": timeouts(1), "order": timeouts(1)})
    store = loaded(file)
    told: list[float | None] = []
    cancel = store.subscribe("product", lambda now: told.append(timeout(now)))
    assert not store.poll()
    file.write({"product": timeouts(2), "order": timeouts(1)})
    assert store.poll()
    file.write({"product": timeouts(2), "order": timeouts(9)})
    assert store.poll()
    assert told == [2]
    cancel()
    file.write({})
    assert store.poll()
    assert told == [2]


@pytest.mark.parametrize(
    "content", ["{", '{"product": {"timeout": 1}}', "[]", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_broken_file_changes_nothing_and_is_counted_once(file: File, content: str | bytes) -> None:
    file.write({"product": timeouts(1)})
    store = loaded(file)
    file.path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [store.poll() for _ in range(3)] == [False] * 3
    assert timeout(store.effective("product")) == 1
    [reloads] = store.collect()
    assert {s.labels["result"]: s.value for s in reloads.samples} == {"success": 0, "error": 1}


def test_a_file_that_is_gone_leaves_the_last_settings(file: File) -> None:
    file.write({"product": timeouts(1)})
    store = loaded(file)
    file.path.unlink()
    assert not store.poll()
    assert timeout(store.effective("product")) == 1


def test_a_file_that_comes_back_is_taken_and_told_and_so_is_its_next_end(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file.write({"product": timeouts(1)})
    store = loaded(file)
    for _ in range(2):
        file.path.unlink()
        assert [store.poll() for _ in range(2)] == [False, False]
        file.write({"product": timeouts(1)})
        assert [store.poll() for _ in range(2)] == [True, False]
    told = [record.getMessage().split(" from ")[0].split(": ")[0] for record in caplog.records]
    assert told == ["service config not reloaded, the last good one stays", "service config reloaded"] * 2


@pytest.mark.parametrize(
    "broken", ['{"product": {"retryThrottling": {"tokenRatio": 1' + "0" * 400 + "}}}", "{"]
)
def test_what_is_wrong_with_the_file_is_known_until_it_is_mended(file: File, broken: str) -> None:
    store = loaded(file)
    assert store.problems == []
    file.write(broken)
    store.poll()
    [problem, *_] = store.problems
    assert problem.startswith(f"{file.path}: ")
    file.write({})
    store.poll()
    assert store.problems == []


def test_at_start_every_mistake_of_every_source_is_told(file: File) -> None:
    file.write({"product": {"timeout": "1s"}, "order": {"methodConfig": 1}})
    with pytest.raises(ConfigError) as caught:
        loaded(file, {"user": breaker(-1)})
    assert caught.value.problems == [
        'MESH_SERVICE_CONFIG_INLINE: "user": circuitBreaker.maxConcurrentRequests: must be from 0 to '
        "4294967296, is -1",
        f'{file.path}: "product": timeout: no such setting',
        f'{file.path}: "order": methodConfig: must be a list, is 1',
    ]


@pytest.mark.parametrize(
    "target", ["", "a b", "http://product", "product:99999", "10.0.0.1:50051", "prod/uct"]
)
def test_what_is_no_target_is_told(file: File, target: str) -> None:
    file.write({target: {}, "product": {"timeout": 1}})
    with pytest.raises(ConfigError) as caught:
        loaded(file)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [json.dumps(target), '"product"']


def test_a_target_that_stands_twice_is_told_beside_every_other_mistake(file: File) -> None:
    file.write('{"product": {}, "product": {"timeout": 1}}')
    with pytest.raises(ConfigError) as caught:
        loaded(file)
    assert caught.value.problems == [
        f'{file.path}: "product" stands twice',
        f'{file.path}: "product": timeout: no such setting',
    ]


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: larger than"):
        ServiceConfigStore(Path("/dev/zero")).load()


def test_a_missing_file_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ServiceConfigStore(tmp_path / "none.json").load()
