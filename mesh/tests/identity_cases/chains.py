"""Chains and bundles."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from grpcmesh.identity import Cause, Material
from tests.identity_cases.case import ROOT, case, over
from tests.pki import DAY, Authority, Pair, ec_key, pem, usage


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


@case(Cause.UNKNOWN_ISSUER, True, "no certificate but this one would be accepted")
def bundle_that_holds_only_the_certificate_itself() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt, pair.key_pem, pair.crt)


@case(None)
def bundle_that_holds_the_certificate_beside_its_ca() -> Material:
    pair = ROOT.issue()
    return Material(pair.crt, pair.key_pem, pair.crt + ROOT.pem)
