"""Reads from the source of a service which methods of which services it can call.

A service calls by stubs only. Each stub that is made is followed to the names that hold it, and each method
that is taken from such a name counts as called. What cannot be followed (a stub that is passed on, a method
whose name is computed, a call without a stub) is an error, so that nothing is overlooked.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
#: Methods of a channel that call without a stub.
_RAW = frozenset({"unary_unary", "unary_stream", "stream_unary", "stream_stream"})


class CannotTellError(AssertionError):
    """The code uses a stub in a way that is not understood here."""


#: What holds a stub: a variable of a module, a private attribute of a class, or a public one of any object.
Holder = tuple[str, ...]


@dataclass
class Package:
    """The modules of a service that its process can import, and the names that hold stubs in them."""

    modules: Mapping[str, ast.Module]
    held: dict[Holder, set[str]] = field(default_factory=dict)
    called: set[tuple[str, str]] = field(default_factory=set)


def calls(service: str, root: Path = ROOT) -> frozenset[tuple[str, str]]:
    """Return the calls of a service as pairs such as `("OrderService", "CreateOrder")`.

    Raises:
        CannotTellError: the code has a stub that cannot be followed.
    """
    package = Package(dict(_reachable(f"services.{service}.main", root)))
    for step in (_follow, _properties, _uses):
        for name, tree in package.modules.items():
            step(package, name, tree)
    return frozenset(package.called)


def _reachable(start: str, root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Return every module of `services` that importing `start` imports, with its tree."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        tree = _tree(name, root)
        if name in seen or tree is None:
            continue
        seen.add(name)
        yield name, tree
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]


@cache
def _tree(module: str, root: Path) -> ast.Module | None:
    if module.partition(".")[0] != "services":
        return None
    path = root.joinpath(*module.split("."))
    path = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent  # type: ignore[attr-defined]
    return tree


def _follow(package: Package, module: str, tree: ast.Module) -> None:
    """Note every name that holds a stub, and the methods of stubs that no name holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _RAW:
            raise CannotTellError(f"{module}:{node.lineno}: calls without a stub")
        if isinstance(node, ast.alias) and node.asname and node.name.endswith("ServiceStub"):
            raise CannotTellError(f"{module}:{node.lineno}: {node.name} is imported under another name")
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if not name.endswith("ServiceStub") or not isinstance(node, ast.expr):
            continue
        made = _parent(node)
        if not isinstance(made, ast.Call) or made.func is not node:
            if isinstance(made, ast.arg | ast.AnnAssign | ast.Subscript):  # an annotation
                continue
            raise CannotTellError(f"{module}:{node.lineno}: {name} is not called where it is named")
        _held(package, module, made, name.removesuffix("Stub"))


def _held(package: Package, module: str, made: ast.expr, service: str) -> None:
    """Note what holds the stub that an expression makes."""
    above = _parent(made)
    if isinstance(above, ast.Attribute):
        package.called.add((service, above.attr))
        return
    holders = [holder for target in _targets(made, above) if (holder := _holder(module, target))]
    if not holders:
        raise CannotTellError(f"{module}:{made.lineno}: a stub of {service} is made, and no name holds it")
    for holder in holders:
        package.held.setdefault(holder, set()).add(service)


def _holder(module: str, node: ast.AST) -> Holder | None:
    """Return what a name or an attribute refers to."""
    if isinstance(node, ast.Name):
        return ("variable", module, node.id)
    if not isinstance(node, ast.Attribute):
        return None
    if not node.attr.startswith("_"):
        return ("attribute", node.attr)
    return ("private", module, _inside(node, ast.ClassDef), node.attr)


def _targets(value: ast.expr, above: ast.AST) -> Iterator[ast.expr]:
    """Return the targets of the assignment, possibly one of tuples, that assigns a value."""
    if isinstance(above, ast.Tuple) and isinstance(outer := _parent(above), ast.Assign):
        for target in outer.targets:
            if isinstance(target, ast.Tuple) and len(target.elts) == len(above.elts):
                yield target.elts[above.elts.index(value)]
    elif isinstance(above, ast.Assign):
        yield from above.targets
    elif isinstance(above, ast.AnnAssign):
        yield above.target


def _properties(package: Package, module: str, tree: ast.Module) -> None:
    """Note the properties that return a stub: they hold it, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value and (holder := _holder(module, node.value)):
            function = _inside(node, ast.FunctionDef)
            if holder in package.held and function in _named(tree, "property"):
                package.held.setdefault(("attribute", function), set()).update(package.held[holder])


def _named(tree: ast.Module, decorator: str) -> frozenset[str]:
    """Return the names of the functions that have a decorator."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(f.name for f in functions if decorator in map(ast.unparse, f.decorator_list))


def _uses(package: Package, module: str, tree: ast.Module) -> None:
    """Note the methods that are taken from names that hold stubs."""
    for node in ast.walk(tree):
        holder = _holder(module, node)
        if holder not in package.held or not isinstance(getattr(node, "ctx", None), ast.Load):
            continue
        assert holder is not None
        above = _parent(node)
        if isinstance(above, ast.Attribute):
            # An attribute of another object may have the name of one that holds a stub.
            if above.attr[0].isupper() or holder[0] != "attribute":
                package.called |= {(service, above.attr) for service in package.held[holder]}
        elif holder[0] != "attribute" and not _harmless(package, above):
            services = ", ".join(package.held[holder])
            raise CannotTellError(f"{module}:{node.lineno}: a stub of {services} is passed on")  # type: ignore[attr-defined]


def _harmless(package: Package, above: ast.AST) -> bool:
    """Return whether a stub is only compared, or returned by a property that holds it, too."""
    returned = (
        isinstance(above, ast.Return) and ("attribute", _inside(above, ast.FunctionDef)) in package.held
    )
    return returned or isinstance(above, ast.Compare)


def _inside(node: ast.AST, kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> str:
    """Return the name of the class or function around a node; empty if there is none."""
    while not isinstance(node, ast.Module):
        node = _parent(node)
        if isinstance(node, kind):
            return node.name
    return ""


def _parent(node: ast.AST) -> ast.AST:
    parent: ast.AST = node.parent  # type: ignore[attr-defined]
    return parent
