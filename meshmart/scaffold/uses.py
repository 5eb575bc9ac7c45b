"""Which code of a checkout uses a service, so that it cannot be removed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from meshmart.errors import CommandError
from meshmart.scaffold.files import owned
from services.manifest import FILE, Manifests


def users(root: Path, name: str, manifests: Manifests) -> Iterator[str]:
    """Return where others call a service, and which of its own files they use.

    Raises:
        CommandError: a file that mentions the name cannot be parsed.
    """
    yield from (f"services/{m.name}/{FILE}" for m in manifests.values() if name in m.calls)
    module = re.compile(rf"services\.{name}(\.[\w.]+)?|(ecommerce\.)?{name}_pb2(_grpc)?(\.\w+)?")
    own = owned(root, name)
    for folder in ("services", "local", "meshmart", "tests", "tools", "bench", "protos/ecommerce"):
        for path in (*(root / folder).rglob("*.py"), *(root / folder).rglob("*.proto")):
            text = path.read_text(encoding="utf-8")
            if name not in text or any(path == one or one in path.parents for one in own):
                continue
            file = path.relative_to(root)
            if path.suffix == ".proto":
                uses = f"ecommerce/{name}.proto" in text
            else:
                uses = any(map(module.fullmatch, _modules(file, text)))
            if uses:
                yield str(file)


def _modules(file: Path, code: str) -> Iterator[str]:
    """Yield what Python code may import: the names in its imports, and every whole string.

    Code within a string is not used by the file that has it.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError as e:
        raise CommandError(f"{file}:{e.lineno}: {e.msg}; mend it first: its imports are not known") from None
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                package = file.parts[: len(file.parts) - level] if level else ()
                base = ".".join((*package, *([module] if module else [])))
                yield base
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)):
                yield text
