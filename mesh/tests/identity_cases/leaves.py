"""Identity cases of leaf certificates: keys, validity, usages and names."""

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from grpcmesh.identity import Cause, Material
from tests.identity_cases.case import ROOT, case, over
from tests.pki import CLIENT, DAY, SERVER, Authority, Pair, ec_key, rsa_key, sha1_signed, usage


@case(None)
def good() -> Pair:
    return ROOT.issue()


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


@case(Cause.EXPIRED)
def expired() -> Pair:
    return ROOT.issue(begins=-2 * DAY, ends=-DAY)


@case(Cause.NOT_YET_VALID)
def not_yet_valid() -> Pair:
    return ROOT.issue(begins=DAY, ends=2 * DAY)


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


@case(Cause.DNS_NAME)
def without_a_dns_name() -> Pair:
    return ROOT.issue(dns=[], subject="workload")


@case(Cause.SPIFFE_ID, True, "gRPC knows no identities")
def without_a_uri() -> Pair:
    return ROOT.issue(uris=[])


@case(Cause.SPIFFE_ID, True, "gRPC knows no identities")
def two_spiffe_ids() -> Pair:
    return ROOT.issue(uris=["spiffe://a/ns/b/sa/c", "spiffe://a/ns/b/sa/d"])
