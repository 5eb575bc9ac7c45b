"""Files of a workload's certificate, written to a directory as the kubelet writes them."""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509


@dataclass(frozen=True)
class Leaf:
    """The files of a service's directory, PEM-encoded."""

    tls_crt: bytes
    tls_key: bytes
    ca_crt: bytes

    def files(self) -> dict[str, bytes]:
        """Return the files by the names that Kubernetes gives them."""
        return {"tls.crt": self.tls_crt, "tls.key": self.tls_key, "ca.crt": self.ca_crt}

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.tls_crt)


def write_atomically(directory: Path, files: dict[str, bytes]) -> None:
    """Write files to a directory as the kubelet does: all at once, by swapping the `..data` symlink.

    Args:
        directory: The directory, such as `STATE_DIR/certs/product`. It is created if absent. Its files are
            symlinks through `..data`.
        files: Contents by file name.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = f"..{datetime.datetime.now(datetime.UTC):%Y_%m_%d_%H_%M_%S.%f}"
    (directory / stamp).mkdir(mode=0o700)
    for name, content in files.items():
        path = directory / stamp / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    old = os.readlink(directory / "..data") if (directory / "..data").is_symlink() else None
    (directory / "..data_tmp").unlink(missing_ok=True)
    (directory / "..data_tmp").symlink_to(stamp)
    (directory / "..data_tmp").rename(directory / "..data")
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    if old:
        _remove(directory / old)


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
