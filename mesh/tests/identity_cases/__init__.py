"""Identities of every kind, and the cause for which each is refused. Unit tests diagnose them; the
integration tests show them to real gRPC peers."""

from tests.identity_cases import chains, files, leaves  # each registers its cases
from tests.identity_cases.case import CASES, ROOT, Case, over

__all__ = ["CASES", "ROOT", "Case", "chains", "files", "leaves", "over"]
