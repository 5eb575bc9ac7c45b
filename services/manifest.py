"""A service's manifest, `services/NAME/service.toml`: what the rest of the project knows of the service.

The embedded cluster, the admission priorities and the token exchange read the manifests when they start. The
authorization policy, the chart's values and the import contracts are generated from them by
`python -m tools.manifests`. docs/service-manifest.md describes every key.
"""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from services.toml_table import TomlTable

FILE = "service.toml"
DIRECTORY = Path(__file__).parent
OPERATOR = "client"
"""The workload whose certificate people and external programs use."""
CONSOLE = "console"
"""The workload of the console on Kubernetes, which asks the user service who an admin is."""
MESH_PORT, HEALTH_PORT, ADMIN_PORT, HTTP_PORT = 50051, 50052, 9090, 8080

GRPC, WEB, LOAD = "grpc", "web", "load"
KINDS = (GRPC, WEB, LOAD)
ANYONE, USER = "anyone", "user"
ROLES = ("user", "moderator", "admin")
"""The roles of the shop's users."""
DEFAULT = "default"
PRIORITIES = ("critical", DEFAULT, "sheddable")
SIGNING_KEYS, MAIL = "signing-keys", "mail"
SECRETS = (SIGNING_KEYS, MAIL)
MAX_REPLICAS, MAX_SUBNET = 50, 254
#: The most bytes of a manifest. Those of the shop have 1,300 at most.
_LARGEST = 100_000
#: The most characters of a problem.
_LONGEST = 500


class ManifestError(ValueError):
    """Manifests are wrong. `problems` has a line for each mistake, which names the file and the key."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = [_line(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


def _line(problem: str) -> str:
    """Return a problem as one line: keys and values of TOML may have line breaks, and any length."""
    shown = problem if len(problem) <= _LONGEST else problem[:_LONGEST] + "..."
    return shown if shown.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


@dataclass(frozen=True, slots=True)
class Method:
    """What one method needs of its caller and of the user, and when it is rejected under overload."""

    user: str | tuple[str, ...] = USER
    """`anyone` (no token), `user` (a valid token), or the roles of which the user needs one."""
    internal: bool = False
    """Whether only services may call it, and not the operator."""
    priority: str = DEFAULT
    """The admission priority: `critical`, `default` or `sheddable`."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable of the service's containers on Kubernetes, and the comment about it."""

    value: str
    about: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one service."""

    name: str
    """The workload's name: in DNS, in certificates, on the command line."""
    subnet: int
    """The third octet of its replicas' addresses on the embedded cluster: 127.0.SUBNET.REPLICA."""
    kind: str = GRPC
    """`grpc`: serves a gRPC service. `web`: serves pages by HTTP. `load`: only calls others."""
    service: str = ""
    """The full name of the gRPC service that it serves, such as `ecommerce.OrderService`."""
    replicas: int = 2
    """The number of replicas unless an option or a value of the chart says otherwise."""
    stores: bool = False
    """Whether it has a database."""
    first: bool = False
    """Whether the shop's first page needs it: the embedded cluster starts it before the others."""
    secrets: tuple[str, ...] = ()
    """Secrets that it gets, of `SECRETS`."""
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The methods that its code calls, by the name of the service that serves them."""
    methods: Mapping[str, Method] = field(default_factory=dict)
    """Every method that it serves."""
    env: Mapping[str, Variable] = field(default_factory=dict)
    """Environment variables on Kubernetes."""

    @property
    def module(self) -> str:
        """Return the module that `python -m` runs."""
        return f"services.{self.name}.main"

    @property
    def ports(self) -> Mapping[str, int]:
        """Return the port numbers of a pod, by name."""
        ports = {"grpc": MESH_PORT, "health": HEALTH_PORT, "admin": ADMIN_PORT}
        return ports | ({"http": HTTP_PORT} if self.kind == WEB else {})


Manifests = Mapping[str, Manifest]


@cache
def shop() -> Manifests:
    """Return the manifests of this shop by service, in the order of their subnets.

    Raises:
        ManifestError: manifests are wrong. A program that does not catch it prints `problems` only, and
            exits with 1.
    """
    try:
        return load(DIRECTORY)
    except ManifestError:
        # Most modules read the manifests when they are imported, before any main function can catch this.
        sys.excepthook = _print_problems
        raise


def _print_problems(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, ManifestError):
        sys.stderr.write(f"{error}\n")
    else:
        sys.__excepthook__(kind, error, trace)


def load(directory: Path) -> Manifests:
    """Return the manifests in `directory/*/service.toml` by service, in the order of their subnets.

    Raises:
        ManifestError: manifests are wrong, or contradict each other.
    """
    found: list[Manifest] = []
    problems: list[str] = []
    # Not with `glob`, which leaves out a symbolic link whose target is missing.
    for path in sorted(each / FILE for each in directory.iterdir() if os.path.lexists(each / FILE)):
        try:
            found.append(parse(path.parent.name, _content(path)))
        except ManifestError as e:
            problems += e.problems
    manifests = {manifest.name: manifest for manifest in sorted(found, key=lambda m: (m.subnet, m.name))}
    # What a manifest that cannot be read offers is not known.
    problems = problems or list(_contradictions(manifests))
    if problems:
        raise ManifestError(problems)
    return manifests


def _content(path: Path) -> str:
    """Return the text of a manifest. Raises ManifestError if it cannot be read."""
    try:
        if not path.is_file():
            raise ManifestError([f"{_named(path)}: is no file"])
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ManifestError([f"{_named(path)}: is larger than {_LARGEST} bytes"])
        return content.decode()
    except OSError as e:
        raise ManifestError([f"{_named(path)}: cannot be read: {e.strerror}"]) from None
    except UnicodeDecodeError as e:
        raise ManifestError([f"{_named(path)}: is not TOML: {e}"]) from None


def _named(path: Path) -> str:
    return f"services/{path.parent.name}/{FILE}"


def parse(name: str, text: str) -> Manifest:
    """Return the manifest of the service `name`.

    Raises:
        ManifestError: the text is no TOML, or has unknown, missing or wrong keys.
    """
    where = f"services/{name}/{FILE}"
    try:
        values = tomllib.loads(text)
        repr(values)  # an integer may be too long to be shown
    except (ValueError, RecursionError) as e:  # tomllib raises more than its own error
        raise ManifestError([f"{where}: is not TOML: {e}"]) from None
    table = TomlTable(f"{where}: ", values, [])
    embedded, kubernetes, calls = (table.table(key) for key in ("embedded", "kubernetes", "calls"))
    manifest = Manifest(
        name=name,
        subnet=embedded.integer("subnet", None, 1, MAX_SUBNET),
        kind=table.choice("kind", KINDS, GRPC),
        service=table.text("service", ""),
        replicas=table.integer("replicas", 2, 0, MAX_REPLICAS),
        stores=table.flag("stores"),
        first=embedded.flag("first"),
        secrets=table.texts("secrets", SECRETS),
        calls={target: calls.texts(target) for target in calls.unread()},
        methods={method: _method(rule) for method, rule in table.table("methods").tables()},
        env={variable: _variable(entry) for variable, entry in kubernetes.table("env").tables()},
    )
    for each in (embedded, kubernetes, table):
        each.close()
    _check_kind(table, manifest)
    if table.problems:
        raise ManifestError(table.problems)
    return manifest


def _check_kind(table: TomlTable, manifest: Manifest) -> None:
    """Record a problem if the manifest lacks what its kind needs, or has what its kind does not have."""
    for key, value in (("service", manifest.service), ("methods", manifest.methods)):
        if manifest.kind == GRPC and not value:
            table.wrong(key, f"is missing, and kind is {GRPC!r}")
        elif manifest.kind in (WEB, LOAD) and value:
            table.wrong(key, f"is there, and kind is {manifest.kind!r}, which serves no gRPC")


def _method(table: TomlTable) -> Method:
    method = Method(
        user=table.text_or_texts("user", (ANYONE, USER), USER, ROLES),
        internal=table.flag("internal"),
        priority=table.choice("priority", PRIORITIES, DEFAULT),
    )
    table.close()
    return method


def _variable(table: TomlTable) -> Variable:
    variable = Variable(table.text("value", None), table.text("about", None))
    table.close()
    return variable


def _contradictions(manifests: Manifests) -> Iterator[str]:
    """Return a line for each mistake that only several manifests together show."""
    called = {
        (target, method) for m in manifests.values() for target in m.calls for method in m.calls[target]
    }
    subnets: dict[int, str] = {}
    servers: dict[str, str] = {}
    for name, manifest in manifests.items():
        where = f"services/{name}/{FILE}"
        other = subnets.setdefault(manifest.subnet, name)
        if other != name:
            yield f"{where}: embedded.subnet: {manifest.subnet} is the subnet of {other}"
        other = servers.setdefault(manifest.service, name)
        if manifest.service and other != name:
            yield f"{where}: service: {manifest.service} is served by {other}"
        for target, methods in manifest.calls.items():
            served = manifests[target].methods if target in manifests else {}
            if target == name:
                yield f"{where}: calls.{target}: a service does not call itself over the mesh"
            elif not served:
                yield f"{where}: calls.{target}: there is no service {target} that serves methods"
            elif unknown := [method for method in methods if method not in served]:
                yield f"{where}: calls.{target}: {target} serves no {', '.join(unknown)}"
            elif not methods:
                yield f"{where}: calls.{target}: is an empty list"
        for method, rule in manifest.methods.items():
            if rule.internal and (name, method) not in called:
                yield f"{where}: methods.{method}: is internal, but no service calls it"
