"""Which names a new service can have."""

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from meshmart.errors import CommandError
from meshmart.scaffold.files import owned, render

#: Names of objects of the chart, of workloads that are no service, of packages in services/.
TAKEN = frozenset(
    {"client", "outsider", "console", "test", "postgres", "jaeger", "prometheus", "grafana", "migrations"}
    | {"credentials", "certificates", "cleanup", "kit", "common"}
    # What `meshmart logs` also knows.
    | {"supervisor", "migrate", "traces"}
    # The API server's Service, if the namespace is `default`.
    | {"kubernetes"}
    # A schema that every PostgreSQL has: a service's schema has its name.
    | {"public"}
)
#: What YAML 1.1 reads as a boolean or as null: the chart's values have services as keys.
_YAML = frozenset({"on", "off", "yes", "no", "true", "false", "null"})
_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")


def check(root: Path, name: str) -> None:
    """Check the name of a new service.

    Raises:
        CommandError: a service cannot have this name, or something of this checkout has it.
    """
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} is no name of a service: 2 to 31 small letters and digits, such as review"
        )
    kind = name.capitalize()
    if name in _YAML or keyword.iskeyword(name) or keyword.iskeyword(kind) or hasattr(builtins, kind):
        raise CommandError(f"{name!r} is no name of a service: it is a word of Python or YAML")
    if taken := next(_taken(root, name), None):
        raise CommandError(f"the name {name} is taken: {taken}")


def _taken(root: Path, name: str) -> Iterator[str]:
    """Yield what has a name already."""
    if name in TAKEN:
        yield "the chart, the embedded cluster or the database has one of this name"
    modules = (root / "services" / f"{name}.py", root / "tests/unit/services" / f"{name}.py")
    for path in (*owned(root, name), *modules):
        # Git leaves the caches of a service whose files it has removed.
        if any(file.is_file() and file.suffix != ".pyc" for file in (path, *path.rglob("*"))):
            yield f"there is {path.relative_to(root)}"
    message = re.compile(
        rf"^(message|enum|service) ((Create|Get)?{name.capitalize()}(Request|Response|Service)?) ", re.M
    )
    for path in (root / "protos/ecommerce").glob("*.proto"):
        if found := message.search(path.read_text(encoding="utf-8")):
            yield f"the protos have {found[2]} in {path.name}"
    for file, text in render(name, 1).items():
        if file.suffix == ".py" and (twice := [n for n, count in Counter(_bound(text)).items() if count > 1]):
            yield f"{file} would name two things {twice[0]}"


def _bound(code: str) -> Iterator[str]:
    """Yield each name that a module's code binds by an import, a class or a function."""
    for node in ast.parse(code).body:
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
