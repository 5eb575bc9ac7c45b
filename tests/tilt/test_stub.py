"""The API under which the Tiltfile is tested is as strict as Tilt's: what it must refuse, it refuses."""

from pathlib import Path

import pytest
import starlark

from tests.tilt.host import evaluate
from tests.tilt.session import Session, TiltError

OBJECTS = """
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {labels: {app: web}}}}
---
kind: Service
metadata: {name: web}
spec: {selector: {app: web}}
---
kind: ConfigMap
metadata: {name: settings}
"""


def evaluated(directory: Path, text: str, *args: str) -> Session:
    """What a Tiltfile of this text declares."""
    (directory / "Tiltfile").write_text(text)
    return evaluate(directory, list(args))


def with_objects(directory: Path, text: str) -> Session:
    """The same, with a Deployment, its Service and a ConfigMap declared."""
    return evaluated(directory, f"k8s_yaml('''{OBJECTS}''')\n{text}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("docker_compose('compose.yaml')", "docker_compose"),
        ("config.nonsense()", "nonsense"),
        ("update_settings(parallel=1)", "unexpected keyword argument"),
        ("update_settings(max_parallel_updates='three')", "is not"),
        ("local_resource('a', labels=['not a label'])", "is not a label"),
        ("local_resource('a', deps=['relative'])", "not an absolute path"),
        ("x = f'{1}'", "f-string"),
        ("import os", "import"),
    ],
)
def test_what_tilt_does_not_know_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(starlark.StarlarkError, match=problem):
        evaluated(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("k8s_resource('absent')", "no resource 'absent'"),
        ("k8s_resource('web', resource_deps=['absent'])", "not there"),
        ("k8s_resource('web', resource_deps=['web'])", "depends on itself"),
        ("k8s_resource(new_name='web', objects=['settings'])", "two resources"),
        ("k8s_resource('web', objects=['absent:configmap'])", "names 0 objects"),
        ("k8s_resource('web', objects=['web'])", "names 2 objects"),
        ("k8s_resource('web', objects=['web:service'])", "belongs to a resource already"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(TiltError, match=problem):
        with_objects(tmp_path, text)


def test_a_service_goes_with_its_workload_and_the_rest_is_left_over(tmp_path: Path) -> None:
    session = with_objects(tmp_path, "")
    assert session.resources["web"].kinds == ["Deployment", "Service"]
    assert session.resources["uncategorized"].kinds == ["ConfigMap"]


def test_what_runs_is_what_is_enabled_and_what_that_depends_on(tmp_path: Path) -> None:
    text = "".join(
        f"local_resource('{each}', resource_deps={deps})\n"
        for each, deps in (("a", "['b']"), ("b", "[]"), ("c", "[]"))
    )
    assert evaluated(tmp_path, text).running() == {"a", "b", "c"}
    assert evaluated(tmp_path, text + "config.set_enabled_resources(['a'])").running() == {"a", "b"}


def test_arguments_are_read_as_tilt_reads_them(tmp_path: Path) -> None:
    text = (
        "config.define_string_list('names', args=True)\nconfig.define_string_list('more')\n"
        "config.define_string('one')\n"
        "given = config.parse()\n"
        "one = given.pop('one', '')\n"
        "[local_resource(k + '-' + v) for k, vs in given.items() for v in vs]\n"
        "[local_resource(each) for each in [one] if each]"
    )
    assert set(evaluated(tmp_path, text, "x", "--more=y", "z").resources) == {"names-x", "more-y", "names-z"}
    assert set(evaluated(tmp_path, text, "--one=a", "--one=b").resources) == {"b"}
    with pytest.raises(starlark.StarlarkError, match="unknown flag"):
        evaluated(tmp_path, text, "--less=1")


def test_to_join_nothing_is_absolute_but_the_first(tmp_path: Path) -> None:
    assert set(evaluated(tmp_path, "local_resource(os.path.join('/a', '/b', '../c'))").resources) == {"/a/c"}
