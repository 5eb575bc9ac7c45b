"""Identities of every kind, and the cause for which each is refused. Unit tests diagnose them; the
integration tests show them to real gRPC peers."""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from grpcmesh.identity import Cause, Material
from tests.pki import CLIENT, DAY, SERVER, Authority, Pair, ec_key, pem, rsa_key, sha1_signed, usage


@dataclass(frozen=True)
class Case:
    """One identity.

    Args:
        cause: The first problem; None: it is good.
        grpc: Whether real gRPC peers accept it all the same, in either role. Where this is not the opposite
            of a cause, the mesh is stricter: `why` says for what reason.
    """

    name: str
    files: Material
    cause: Cause | None
    grpc: bool
    why: str = ""

    def __str__(self) -> str:
        return self.name


CASES: list[Case] = []
ROOT = Authority()
_Made = Material | Pair


def case(
    cause: Cause | None, grpc: bool | None = None, why: str = ""
) -> Callable[[Callable[[], _Made]], None]:
    """Register the identity that the function makes; a pair is shown over the bundle ROOT."""

    def register(make: Callable[[], _Made]) -> None:
        made = make()
        files = over(made) if isinstance(made, Pair) else made
        name = make.__name__.replace("_", " ").strip()
        CASES.append(Case(name, files, cause, cause is None if grpc is None else grpc, why))

    return register


def over(pair: Pair, *bundle: Authority) -> Material:
    """The pair's files, with a bundle of these CAs."""
    return Material(pair.crt, pair.key_pem, b"".join(ca.pem for ca in bundle or (ROOT,)))


@case(None)
def good() -> Pair:
    return ROOT.issue()


# --- keys -------------------------------------------------------------------------------------------------


@case(None)
def p384() -> Pair:
    return ROOT.issue(key=ec_key(ec.SECP384R1))


@case(None)
def rsa_2048() -> Pair:
    return ROOT.issue(key=rsa_key(2048))


@case(Cause.UNSUPPORTED_KEY, True, "TLS libraries other than gRPC's refuse it")
def rsa_1024() -> Pair:
    return ROOT.issue(key=rsa_key(1024))


def _curve(curve: type[ec.EllipticCurve]) -> Callable[[], Pair]:
    def make() -> Pair:
        return ROOT.issue(key=ec_key(curve))

    make.__name__ = curve.name
    return make


for _each in (ec.SECP224R1, ec.SECP521R1, ec.SECP256K1, ec.BrainpoolP256R1, ec.BrainpoolP384R1):
    case(Cause.UNSUPPORTED_KEY)(_curve(_each))


@case(Cause.UNSUPPORTED_KEY)
def ed25519_() -> Pair:
    return ROOT.issue(key=ed25519.Ed25519PrivateKey.generate())


@case(Cause.UNSUPPORTED_KEY)
def ed448_() -> Pair:
    return ROOT.issue(key=ed448.Ed448PrivateKey.generate())


@case(Cause.KEY_MISMATCH)
def key_of_another_certificate() -> Material:
    return Material(ROOT.issue().crt, ROOT.issue().key_pem, ROOT.pem)


@case(Cause.ENCRYPTED_KEY)
def encrypted_key() -> Material:
    pair = ROOT.issue()
    encrypted = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    return Material(pair.crt, encrypted, ROOT.pem)


@case(None)
def key_in_the_traditional_form() -> Material:
    pair = ROOT.issue()
    traditional = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return Material(pair.crt, traditional, ROOT.pem)


@case(Cause.MALFORMED)
def key_in_openssh_form() -> Material:
    pair = ROOT.issue()
    form = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return Material(pair.crt, form, ROOT.pem)


@case(Cause.MALFORMED)
def half_a_key() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt, pair.key_pem[: len(pair.key_pem) // 2], ROOT.pem)


# --- validity ---------------------------------------------------------------------------------------------


@case(Cause.EXPIRED)
def expired() -> Pair:
    return ROOT.issue(begins=-2 * DAY, ends=-DAY)


@case(Cause.NOT_YET_VALID)
def not_yet_valid() -> Pair:
    return ROOT.issue(begins=DAY, ends=2 * DAY)


# --- usages -----------------------------------------------------------------------------------------------


@case(Cause.EXTENDED_KEY_USAGE)
def only_for_clients() -> Pair:
    return ROOT.issue(usages=[CLIENT])


@case(Cause.EXTENDED_KEY_USAGE)
def only_for_servers() -> Pair:
    return ROOT.issue(usages=[SERVER])


@case(Cause.EXTENDED_KEY_USAGE)
def only_for_any_purpose() -> Pair:
    return ROOT.issue(usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])


@case(Cause.EXTENDED_KEY_USAGE)
def only_for_signing_code() -> Pair:
    return ROOT.issue(usages=[ExtendedKeyUsageOID.CODE_SIGNING])


@case(None)
def without_extended_key_usage() -> Pair:
    return ROOT.issue(usages=[])


@case(None)
def without_key_usage() -> Pair:
    return ROOT.issue(key_usage=None)


@case(Cause.KEY_USAGE)
def key_usage_without_digital_signature() -> Pair:
    return ROOT.issue(key_usage=usage("key_agreement"))


@case(Cause.KEY_USAGE)
def rsa_for_key_encipherment() -> Pair:
    return ROOT.issue(key=rsa_key(2048), key_usage=usage("key_encipherment"))


@case(Cause.CA_CERTIFICATE, True, "SPIFFE forbids a leaf that can sign")
def leaf_that_is_a_ca() -> Pair:
    return ROOT.issue(ca=True)


@case(Cause.CA_CERTIFICATE, True, "SPIFFE forbids a leaf that can sign")
def leaf_that_may_sign() -> Pair:
    return ROOT.issue(key_usage=usage("digital_signature", "key_cert_sign"))


@case(Cause.WEAK_SIGNATURE, True, "TLS libraries other than gRPC's refuse it")
def signed_with_sha1() -> Material:
    root = Authority("sha1", key=rsa_key(2048))
    return over(sha1_signed(root.issue(), root.key), root)


@case(Cause.HANDSHAKE)
def unknown_critical_extension() -> Pair:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    return ROOT.issue(extensions=[(unknown, True)])


# --- names ------------------------------------------------------------------------------------------------


@case(Cause.DNS_NAME)
def without_a_dns_name() -> Pair:
    return ROOT.issue(dns=[], subject="workload")


@case(Cause.SPIFFE_ID, True, "gRPC knows no identities")
def without_a_uri() -> Pair:
    return ROOT.issue(uris=[])


@case(Cause.SPIFFE_ID, True, "gRPC knows no identities")
def two_spiffe_ids() -> Pair:
    return ROOT.issue(uris=["spiffe://a/ns/b/sa/c", "spiffe://a/ns/b/sa/d"])


# --- chains -----------------------------------------------------------------------------------------------


@case(Cause.UNKNOWN_ISSUER)
def of_a_foreign_ca() -> Pair:
    return Authority("foreign").issue()


@case(Cause.ISSUER_KEY_CHANGED)
def of_a_ca_renewed_under_its_name() -> Pair:
    return Authority("root").issue()


@case(Cause.ISSUER_KEY_CHANGED)
def of_a_ca_renewed_under_its_name_without_key_identifiers() -> Material:
    old, new = Authority("bare", identifiers=False), Authority("bare", identifiers=False)
    return over(old.issue(identifiers=False), new)


@case(None)
def both_cas_of_one_name_with_key_identifiers() -> Material:
    old, new = Authority("same"), Authority("same")
    return over(new.issue(), old, new)


@case(Cause.AMBIGUOUS_ISSUER, True, "peers of the other CA would be refused")
def both_cas_of_one_name_without_key_identifiers() -> Material:
    new, old = Authority("bare", identifiers=False), Authority("bare", identifiers=False, ends=5 * DAY)
    return over(new.issue(identifiers=False), new, old)


@case(Cause.ISSUER_KEY_CHANGED)
def both_cas_of_one_name_without_key_identifiers_and_the_other_first() -> Material:
    old, new = Authority("bare", identifiers=False, ends=5 * DAY), Authority("bare", identifiers=False)
    return over(old.issue(identifiers=False), new, old)


@case(None)
def a_ca_renewed_with_its_key_beside_the_expired_one() -> Material:
    old = Authority("kept", begins=-5 * DAY, ends=-DAY)
    new = Authority("kept", key=old.key)
    return over(new.issue(), new, old)


INTERMEDIATE = Authority("intermediate", ROOT)


@case(None)
def chain_of_three() -> Pair:
    return INTERMEDIATE.issue(chain=[INTERMEDIATE])


@case(None)
def chain_of_three_with_the_root() -> Pair:
    return INTERMEDIATE.issue(chain=[INTERMEDIATE, ROOT])


@case(None)
def bundle_of_an_intermediate() -> Material:
    return over(INTERMEDIATE.issue(), INTERMEDIATE)


@case(None)
def two_intermediates_in_the_wrong_order() -> Pair:
    second = Authority("second", INTERMEDIATE)
    return second.issue(chain=[INTERMEDIATE, second])


@case(Cause.UNKNOWN_ISSUER)
def missing_intermediate() -> Pair:
    return INTERMEDIATE.issue()


@case(Cause.WRONG_ORDER)
def leaf_after_its_issuer() -> Material:
    pair = INTERMEDIATE.issue(chain=[INTERMEDIATE])
    return Material(pem(*pair.chain, pair.certificate), pair.key_pem, ROOT.pem)


@case(Cause.ISSUER_EXPIRED)
def expired_intermediate() -> Pair:
    old = Authority("old", ROOT, begins=-2 * DAY, ends=-DAY)
    return old.issue(chain=[old])


@case(Cause.ISSUER_NOT_YET_VALID)
def intermediate_not_yet_valid() -> Pair:
    early = Authority("early", ROOT, begins=DAY)
    return early.issue(chain=[early])


@case(Cause.ISSUER_EXPIRED)
def expired_root() -> Material:
    old = Authority("old", begins=-2 * DAY, ends=-DAY)
    return over(old.issue(), old)


@case(Cause.INVALID_ISSUER)
def intermediate_that_is_no_ca() -> Pair:
    false = Authority("false", ROOT, ca=False)
    return false.issue(chain=[false])


@case(Cause.UNKNOWN_ISSUER)
def intermediate_that_may_not_sign() -> Pair:
    false = Authority("false", ROOT, key_usage=usage("digital_signature"))
    return false.issue(chain=[false])


@case(Cause.INVALID_ISSUER)
def path_longer_than_allowed() -> Pair:
    short = Authority("short", ROOT, path_length=0)
    below = Authority("below", short)
    return below.issue(chain=[below, short])


@case(Cause.HANDSHAKE)
def outside_of_a_name_constraint() -> Pair:
    only = x509.NameConstraints([x509.DNSName("other.example")], None)
    narrow = Authority("narrow", ROOT, extensions=[(only, True)])
    return narrow.issue(chain=[narrow])


@case(Cause.INVALID_ISSUER)
def root_with_a_key_that_grpc_cannot_read() -> Material:
    root = Authority("ed448", key=ed448.Ed448PrivateKey.generate())
    return over(root.issue(), root)


@case(None)
def root_on_p521() -> Material:
    root = Authority("p521", key=ec_key(ec.SECP521R1))
    return over(root.issue(), root)


# --- files ------------------------------------------------------------------------------------------------


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
    return Material(b"\x00\xff" * 100, ROOT.issue().key_pem, ROOT.pem)


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
