"""The image, built once for the session by the tool that a person uses."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, write_atomically
from local.catalog import NAMESPACE
from tests.image.archive import Archive
from tests.image.container import USER, Container

#: Seconds: without a cache, on a loaded machine.
BUILD_TIMEOUT = 1800
REPOSITORY = Path(__file__).parents[2]

MakeContainer = Callable[..., Container]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """BASE says what it is built on: by default Debian's packages, which every machine of ours reaches."""
    out = tmp_path_factory.mktemp("image") / "meshmart.tar"
    settings = {"BASE": "debian", **os.environ, "TAG": "localhost/meshmart-test:now", "OUT": str(out)}
    done = subprocess.run(
        [REPOSITORY / "tools/image"],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Archive(out)


@pytest.fixture(scope="session")
def sbom_file(archive: Archive) -> Path:
    """What the build wrote beside the image."""
    return archive.path.with_suffix(".cdx.json")


@pytest.fixture(scope="session")
def root(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's file system, unpacked."""
    top = tmp_path_factory.mktemp("root")
    top.chmod(0o755)  # it becomes `/`
    return archive.unpack(top)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a workload's directory, readable to the container's user alone, as a Secret with fsGroup is."""
    ca, top = CertificateAuthority(namespace=NAMESPACE), tmp_path_factory.mktemp("certificates")

    def issue(service: str) -> Path:
        directory = top / service
        write_atomically(directory, ca.issue(service).files())
        for path in (directory, *directory.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        return directory

    return issue


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A volume that the container's user may write to."""
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", USER, USER)
    return tmp_path / "data"


@pytest.fixture
def container(archive: Archive, root: Path, tmp_path: Path) -> MakeContainer:
    """Makes a container from a name, more variables and mounts."""

    def make(name: str, environment: dict[str, str] | None = None, **mounts: Path) -> Container:
        places = {f"/{place}": path for place, path in mounts.items()}
        return Container(tmp_path / name, root, archive.environment | (environment or {}), places)

    return make
