"""The chart's values: each documented and known to the schema, wrong ones refused with a clear message."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from services.loadgen.journeys import SCENARIOS
from tests.chart.helm import CHART, Helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = (CHART / "values.yaml").read_text()
#: Say themselves what they are.
PLAIN = {"enabled", "resources", "image", "labels", "interval", "requests", "limits", "podSelector"}


def properties(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """`tls.ca.duration`: every property, of `services` those of `default`."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here
        yield from properties(inner, here)


def keys(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for name, inner in values.items():
            here = f"{path}.{name}".lstrip(".")
            yield here
            yield from keys(inner, here)


def test_every_value_is_in_the_schema_and_every_one_of_the_schema_has_a_default() -> None:
    values = yaml.safe_load(VALUES)
    values.pop("services")
    # Maps whose keys are the user's, and what a resource, a probe or an affinity may have besides.
    free = re.compile(
        r"^global$|^services|\.(requests|limits)\.|\.successThreshold$|\.labels\.|^networkPolicy\.dns"
        r"|^default\.affinity\."
    )
    known = {p for p in properties(SCHEMA) if not free.search(p)}
    given = {k for k in keys(values) if not free.search(k)}
    assert given == known


def test_every_value_has_a_comment() -> None:
    # The entries of `services` hold what `default` explains.
    lines = re.sub(r"(?ms)^services:.*?(?=^\S)", "", VALUES).splitlines()
    bare = []
    for number, line in enumerate(lines):
        key = re.match(r"^( *)([a-zA-Z-]+):", line)
        if not key or key[2] in PLAIN:
            continue
        group = line.endswith(":") and lines[number + 1].lstrip().startswith("#")  # its members say it
        if not group and not lines[number - 1].lstrip().startswith("#"):
            bare.append(f"{number + 1}: {line}")
    assert not bare


def test_nothing_of_ours_takes_properties_that_it_does_not_know() -> None:
    open_ones = [
        path
        for path, schema in _objects(SCHEMA)
        if "properties" in schema and "additionalProperties" not in schema
    ]
    # A condition narrows an object that is closed where it is defined.
    assert not [p for p in open_ones if not p.endswith(("/not", "/if", "/then"))]


def _objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield path, schema
        for name, inner in schema.items():
            yield from _objects(inner, f"{path}/{name}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from _objects(inner, path)


def test_the_scenarios_that_the_comment_names_are_those_that_there_are() -> None:
    comment = re.search(r"# (.*)\n +MESHMART_LOAD_SCENARIO", VALUES)
    assert comment
    assert set(re.findall(r"[a-z]+", comment[1])) - {"or"} == SCENARIOS.keys()


REJECTED = {
    'tls.mode="vault"': ("tls", "mode", "cert-manager"),
    "tls.modus=1": ("tls", "modus"),
    'tls.duration="1 day"': ("duration", "pattern"),
    'tls.trustBundle={"configMap":"a","secret":"b"}': ("trustBundle",),
    "services.product.replicas=-1": ("services", "product", "replicas"),
    "services.product.replica=3": ("services", "product", "replica"),
    'services.Product={"calls":[]}': ("services.Product: must be a DNS label",),
    'services.client={"calls":[]}': ("services.client: the chart itself has an object of this name",),
    'services.order.calls=["user","shipping"]': ("services.order.calls: there is no service shipping",),
    'services.order.env={"MESH_RETRY_MAX_ATTEMPTS":3}': ("MESH_RETRY_MAX_ATTEMPTS", "string"),
    'image.tag="latest"': ("image", "tag"),
    'jaeger.image="jaegertracing/jaeger:latest"': ("jaeger", "image"),
    'jaeger.image="jaegertracing/jaeger"': ("jaeger", "image"),
    "runAsUser=0": ("runAsUser", "minimum"),
    'otlp.endpoint="collector:4317"': ("otlp", "endpoint"),
    "otlp.sampleRatio=2": ("otlp", "sampleRatio"),
    'grafana.loki.url="loki:3100"': ("grafana", "loki"),
    'bindAddress="127.0.0.1"': ("bindAddress", "0.0.0.0"),
    'postgres.persistence.whenDeleted="Perhaps"': ("whenDeleted", "Retain"),
    'default.resources={"requests":{"memory":"much"}}': ("memory",),
    'nonsense="x"': ("nonsense",),
}


@pytest.mark.parametrize("setting", REJECTED, ids=str)
def test_a_wrong_value_is_refused_with_a_message_that_names_it(each_helm: Helm, setting: str) -> None:
    refused = each_helm.template(setting)
    assert refused.returncode != 0, refused.stdout[:500]
    lacking = [word for word in REJECTED[setting] if word not in refused.stderr]
    assert not lacking or lacking == ["minimum"] or lacking == ["pattern"], refused.stderr


def test_one_file_decides_the_default_image_tag(each_helm: Helm) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    images = {
        c["image"]
        for d in each_helm.render().services().values()
        for c in d["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"ghcr.io/meshmart/meshmart:{chart['appVersion']}"}
