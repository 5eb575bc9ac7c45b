"""Reads a docker archive, whichever tool wrote it."""

import json
import tarfile
from pathlib import Path
from typing import Any


class Archive:
    """One image in a file.

    Args:
        path: Of the docker archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as tar:
            self._manifest = _read(tar, "manifest.json")[0]
            self.image = _read(tar, self._manifest["Config"])

    @property
    def config(self) -> dict[str, Any]:
        """`User`, `Entrypoint`, `Env`, `Labels` and so on."""
        found: dict[str, Any] = self.image["config"]
        return found

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])

    def unpack(self, root: Path) -> Path:
        """Lays the layers over one another in `root`, as the user that runs this: must be root."""
        with tarfile.open(self.path) as tar:
            for name in self._manifest["Layers"]:
                with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                    assert not [m.name for m in layer if "/.wh." in f"/{m.name}"], "a layer deletes"
                    layer.extractall(root, filter="fully_trusted")
        return root


def _read(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    assert file is not None, name
    return json.load(file)
