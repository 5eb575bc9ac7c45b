"""The Python code of the suites' protos, generated from what their Go modules carry."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any


def generate(descriptors: Path, out: Path, *names: str) -> None:
    """Write the modules of these files, with their services.

    Args:
        descriptors: A serialized FileDescriptorSet that holds the files and what they import.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptors}"]
    subprocess.run(
        [*command, f"--python_out={out}", f"--grpc_python_out={out}", *names], check=True, timeout=600
    )


def load(directory: str, name: str) -> Any:
    """Import a generated module. It has no types, because it is generated when the tests run."""
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return importlib.import_module(name)
