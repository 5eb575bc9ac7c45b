"""Files as they are found on disk."""

from grpcmesh.identity import Cause, Material
from tests.identity_cases.case import ROOT, case


@case(Cause.MALFORMED)
def half_a_certificate() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt[: len(pair.crt) // 2], pair.key_pem, ROOT.pem)


@case(Cause.MALFORMED, True, "the rest of the chain may be missing")
def half_an_intermediate() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt + ROOT.pem[:100], pair.key_pem, ROOT.pem)


@case(Cause.MALFORMED)
def half_a_bundle() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt, pair.key_pem, ROOT.pem[: len(ROOT.pem) // 2])


@case(Cause.MALFORMED)
def empty_files() -> Material:
    return Material(b"", b"", b"")


@case(Cause.MALFORMED)
def certificate_that_is_no_pem() -> Material:
    # No NUL in front: gRPC takes it for a C string, and dies of an empty one before 1.83 (bench/grpcio.md).
    return Material(b"\xff\x00" * 100, ROOT.issue().key_pem, ROOT.pem)


@case(Cause.MALFORMED)
def certificate_that_is_no_certificate() -> Material:
    body = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return Material(body, ROOT.issue().key_pem, ROOT.pem)


@case(None)
def text_around_the_certificates() -> Material:
    pair = ROOT.issue()
    return Material(b"subject=ping\n" + pair.crt, b"# the key\n" + pair.key_pem, b"# CAs\n" + ROOT.pem)


@case(None)
def line_ends_of_windows() -> Material:
    pair = ROOT.issue()
    crlf = [content.replace(b"\n", b"\r\n") for content in (pair.crt, pair.key_pem, ROOT.pem)]
    return Material(*crlf)


@case(None)
def key_beside_the_certificate() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt + pair.key_pem, pair.crt + pair.key_pem, ROOT.pem)
