"""Services' manifests: what they say, and how a mistake in one is told."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from services.manifest import MAIL, Manifest, ManifestError, Method, Variable, load, parse, shop

REVIEW = """
service = "ecommerce.ReviewService"
replicas = 3
stores = true
secrets = ["mail"]
[embedded]
subnet = 10
first = true
[calls]
user = ["GetVerificationKeys"]
[methods]
WriteReview = {}
ListReviews = { user = "anyone", priority = "sheddable" }
DeleteReview = { user = ["admin", "moderator"] }
EraseUser = { user = "anyone", internal = true }
[kubernetes.env]
MESHMART_STARS = { value = "5", about = "The most." }
"""


def problem(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        parse("review", text)
    return "\n".join(caught.value.problems)


def test_a_manifest_says_all_that_others_need() -> None:
    assert parse("review", REVIEW) == Manifest(
        name="review",
        subnet=10,
        service="ecommerce.ReviewService",
        replicas=3,
        stores=True,
        first=True,
        secrets=(MAIL,),
        calls={"user": ("GetVerificationKeys",)},
        methods={
            "WriteReview": Method(),
            "ListReviews": Method("anyone", priority="sheddable"),
            "DeleteReview": Method(("admin", "moderator")),
            "EraseUser": Method("anyone", internal=True),
        },
        env={"MESHMART_STARS": Variable("5", "The most.")},
    )


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("replicas = 3", "replicas = 51", "replicas: 51 is no integer from 0 to 50"),
        ("replicas = 3", "replicas = true", "replicas: True is no integer"),
        ("replicas = 3", "replica = 3", "replica: there is no such key"),
        ("stores = true", 'stores = "yes"', "stores: 'yes' is neither true nor false"),
        ('["mail"]', '["mial"]', "secrets: mial: there is only signing-keys, mail"),
        ("subnet = 10", "", "embedded.subnet: is missing"),
        ("first = true", "second = true", "embedded.second: there is no such key"),
        ('["GetVerificationKeys"]', '"GetVerificationKeys"', "calls.user: 'GetVerificationKeys' is no list"),
        ('["GetVerificationKeys"]', '["A", "A"]', "calls.user: ['A', 'A'] names something twice"),
        ('"anyone", priority', '"any", priority', "methods.ListReviews.user: 'any' is none of anyone, user"),
        ('["admin", "moderator"]', "[]", "methods.DeleteReview.user: is an empty list"),
        (
            '"sheddable"',
            '"low"',
            "methods.ListReviews.priority: 'low' is none of critical, default, sheddable",
        ),
        ("WriteReview = {}", "WriteReview = 1", "methods.WriteReview: 1 is no table"),
        (
            "WriteReview = {}",
            "WriteReview = { users = 1 }",
            "methods.WriteReview.users: there is no such key",
        ),
        (', about = "The most."', "", "kubernetes.env.MESHMART_STARS.about: is missing"),
        ("[kubernetes.env]", "[kubernetes.envs]", "kubernetes.envs: there is no such key"),
        ("replicas = 3", 'kind = "web"', "service: is there, and kind is 'web', which serves no gRPC"),
        ("replicas = 3", 'kind = "load"', "methods: is there, and kind is 'load', which serves no gRPC"),
        ("replicas = 3", 'kind = "cron"', "kind: 'cron' is none of grpc, web, load"),
        ('"ecommerce.ReviewService"', '""', "service: is missing, and kind is 'grpc'"),
        ("[methods]", "[method]", "methods: is missing, and kind is 'grpc'"),
        (
            '"moderator"]',
            '"moderater"]',
            "methods.DeleteReview.user: moderater: there is only user, moderator, admin",
        ),
        ("replicas = 3", "replicas", "is not TOML: "),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(before: str, after: str, told: str) -> None:
    assert before in REVIEW
    assert f"services/review/service.toml: {told}" in problem(REVIEW.replace(before, after, 1))


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problem("replicas = -1\nstores = 1").splitlines()) == 5  # and no subnet, service, methods


def write(root: Path, **manifests: str) -> Path:
    for name, text in manifests.items():
        path = root / name / "service.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return root


USER = """
service = "ecommerce.UserService"
[embedded]
subnet = 4
[methods]
GetVerificationKeys = { user = "anyone" }
[calls]
review = ["EraseUser"]
"""


def test_manifests_stand_in_the_order_of_their_subnets(tmp_path: Path) -> None:
    assert list(load(write(tmp_path, review=REVIEW, user=USER))) == ["user", "review"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("review = [", "reviews = [", "user/service.toml: calls.reviews: there is no service reviews"),
        ('"EraseUser"', '"Erase"', "user/service.toml: calls.review: review serves no Erase"),
        ('"EraseUser"', "", "user/service.toml: calls.review: is an empty list"),
        (
            '"EraseUser"',
            '"ListReviews"',
            "review/service.toml: methods.EraseUser: is internal, but no service",
        ),
        ("subnet = 4", "subnet = 10", "user/service.toml: embedded.subnet: 10 is the subnet of review"),
        (
            "review = [",
            'user = ["GetVerificationKeys"]\nreview = [',
            "user/service.toml: calls.user: a service does not call itself over the mesh",
        ),
    ],
)
def test_manifests_that_contradict_each_other_are_refused(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in USER
    with pytest.raises(ManifestError, match=f"services/{told}"):
        load(write(tmp_path, review=REVIEW, user=USER.replace(before, after)))


def test_a_service_of_the_contract_is_served_by_one_service_of_the_shop(tmp_path: Path) -> None:
    copied = REVIEW.replace("subnet = 10", "subnet = 11")
    told = "services/review2/service.toml: service: ecommerce.ReviewService is served by review"
    with pytest.raises(ManifestError, match=told):
        load(write(tmp_path, review=REVIEW, review2=copied, user=USER))


def test_a_manifest_in_another_encoding_is_told_with_its_file(tmp_path: Path) -> None:
    (write(tmp_path, user=USER) / "user/service.toml").write_bytes("# é\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"services/user/service\.toml: is not TOML: 'utf-8' codec"):
        load(tmp_path)


UNREADABLE: Mapping[str, Callable[[Path], object]] = {
    "is no file": Path.mkdir,
    "is no file, as a pipe": os.mkfifo,
    "is no file, as a link to itself": lambda path: path.symlink_to(path),
    "is no file, as a link to nothing": lambda path: path.symlink_to("nothing"),
    "is larger than 100000 bytes": lambda path: path.write_text(REVIEW + "#" * 100_000),
    "is not TOML": lambda path: path.write_bytes(b"\xff"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_told_with_its_file(what: str, tmp_path: Path) -> None:
    (tmp_path / "order").mkdir()
    UNREADABLE[what](tmp_path / "order" / "service.toml")
    with pytest.raises(ManifestError) as caught:
        load(tmp_path)
    (line,) = caught.value.problems
    assert line.startswith("services/order/service.toml: " + what.partition(",")[0])


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: str) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "order").mkdir()
    (tmp_path / "order" / "service.toml").touch()
    monkeypatch.setattr(Path, "open", refused)  # the tests may run as root, who may read anything
    with pytest.raises(ManifestError, match=r"order/service\.toml: cannot be read: Permission denied"):
        load(tmp_path)


VALUES = [
    "1",
    "1.5",
    "nan",
    "true",
    "'x'",
    "[]",
    "[1]",
    "[[]]",
    "[{}]",
    "{}",
    "{a = 1}",
    "2024-01-01",
    "12:00:00",
]
VALUES += [
    "9" * 5000,
    "0x" + "f" * 5000,
    "[" * 5000,
    "{a = " * 3000,
    '"\\n"',
    "['\\n']",
    "'" + "x" * 5000 + "'",
]
KEYS = ["kind", "service", "replicas", "stores", "secrets", "embedded", "kubernetes", "calls", "methods"]
KEYS += ["embedded.first", "embedded.subnet", "kubernetes.env", "kubernetes.env.A", "kubernetes.env.A.value"]
KEYS += ["calls.product", "methods.Get", "methods.Get.user", "methods.Get.internal", "methods.Get.priority"]
KEYS += ["other", '"a\\nb"', 'calls."a\\nb"', 'methods."\\u001b[31m"']


@pytest.mark.parametrize("key", KEYS)
def test_any_value_of_any_key_is_told_in_lines(key: str) -> None:
    for value in VALUES:  # other keys are missing in any case
        told = problem(f"{key} = {value}\n").split("\n")
        assert all(line.isprintable() and len(line) < 600 for line in told)
        assert all(line.startswith("services/review/service.toml: ") for line in told)


def test_the_shops_manifests_are_right() -> None:
    assert shop()["user"].secrets == ("signing-keys",)
    assert shop()["storefront"].ports["http"] == 8080
    assert "http" not in shop()["order"].ports
