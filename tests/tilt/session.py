"""What one evaluation of a Tiltfile declared, put together as Tilt puts it together, and as strictly.

The rules are those of Tilt 0.37 (internal/tiltfile/tiltfile_state.go): a workload is a resource of its own
name; a Service goes with the workload whose pods it selects; other objects go where k8s_resource(objects=…)
puts them, each once; what is left over is `uncategorized`.
"""

from dataclasses import dataclass, field
from typing import Any

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet")
UNCATEGORIZED = "uncategorized"


class TiltError(Exception):
    """What Tilt would refuse."""


@dataclass
class Resource:
    """A row of Tilt's page."""

    name: str
    objects: list[dict[str, Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    deps: list[str] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    forwards: list[dict[str, Any]] = field(default_factory=list)
    #: How it is updated: of objects the trigger mode, else what local_resource or helm_resource was given.
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        return [each["kind"] for each in self.objects]


@dataclass
class Session:
    """The calls that an evaluation made."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    builds: list[dict[str, Any]] = field(default_factory=list)
    buttons: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    extension_repo: dict[str, Any] | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    #: None: all.
    enabled: list[str] | None = None

    def add(self, resource: Resource) -> None:
        if resource.name in self.resources:
            raise TiltError(f"two resources are called {resource.name!r}")
        self.resources[resource.name] = resource

    def assemble(self) -> None:
        """Puts objects and options together.

        Raises:
            TiltError: Tilt would refuse this Tiltfile.
        """
        left = self._by_workload()
        for options in self.options:
            self._apply(options, left)
        if left:
            self.add(Resource(UNCATEGORIZED, left))
        self._check()

    def running(self) -> set[str]:
        """The names of the resources that run: the enabled ones and what they depend on."""
        if not self.enabled:
            return set(self.resources)
        found: set[str] = {UNCATEGORIZED} & set(self.resources)
        queue = list(self.enabled)
        while queue:
            name = queue.pop()
            if name not in self.resources:
                raise TiltError(f"set_enabled_resources: there is no resource {name!r}")
            if name not in found:
                found.add(name)
                queue += self.resources[name].deps
        return found

    def after(self, name: str) -> set[str]:
        """The names of all that is up before the resource starts."""
        found: set[str] = set()
        queue = list(self.resources[name].deps)
        while queue:
            each = queue.pop()
            if each not in found:
                found.add(each)
                queue += self.resources[each].deps
        return found

    def _by_workload(self) -> list[dict[str, Any]]:
        workloads = [each for each in self.objects if each["kind"] in WORKLOADS]
        left = [each for each in self.objects if each["kind"] not in WORKLOADS]
        for workload in workloads:
            taken = [each for each in left if _selects(each, workload)]
            left = [each for each in left if each not in taken]
            self.add(Resource(workload["metadata"]["name"], [workload, *taken]))
        return left

    def _apply(self, options: dict[str, Any], left: list[dict[str, Any]]) -> None:
        name = options["workload"] or options["new_name"]
        if not options["workload"]:
            if not options["objects"] or not options["new_name"]:
                raise TiltError("k8s_resource needs a workload, or objects and a new_name")
            self.add(Resource(name))
        if name not in self.resources:
            raise TiltError(f"k8s_resource: there is no resource {name!r}")
        resource = self.resources[name]
        resource.labels += options["labels"]
        resource.deps += options["resource_deps"]
        resource.links += options["links"]
        resource.forwards += options["port_forwards"]
        resource.how["trigger_mode"] = options["trigger_mode"]
        for fragment in options["objects"]:
            resource.objects.append(_take(fragment, left, self.objects))

    def _check(self) -> None:
        for resource in self.resources.values():
            for each in resource.deps:
                if each not in self.resources:
                    raise TiltError(f"{resource.name} depends on {each!r}, which is not there")
            if resource.name in self.after(resource.name):
                raise TiltError(f"{resource.name} depends on itself")
        for button in self.buttons:
            if button["resource"] and button["resource"] not in self.resources:
                raise TiltError(f"button {button['name']}: there is no resource {button['resource']!r}")
        names = [button["name"] for button in self.buttons]
        if len(set(names)) < len(names):
            raise TiltError(f"two buttons of one name: {names}")


def _selects(service: dict[str, Any], workload: dict[str, Any]) -> bool:
    template = workload["spec"].get("template", workload["spec"].get("jobTemplate", {}))
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = service["spec"].get("selector") if service["kind"] == "Service" else None
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _take(fragment: str, left: list[dict[str, Any]], all_: list[dict[str, Any]]) -> dict[str, Any]:
    found = [each for each in all_ if fragment in _fragments(each)]
    if len(found) != 1:
        raise TiltError(f"{fragment!r} names {len(found)} objects; it must be one")
    if found[0] not in left:
        raise TiltError(f"{fragment!r} belongs to a resource already")
    left.remove(found[0])
    return found[0]


def _fragments(each: dict[str, Any]) -> list[str]:
    name, kind = each["metadata"]["name"].lower(), each["kind"].lower()
    namespace = each["metadata"].get("namespace", "default").lower()
    return [name, f"{name}:{kind}", f"{name}:{kind}:{namespace}"]
