"""Payments, and the rules for them.

Amounts are integer cents, times are Unix seconds. Nothing here keeps a card: an instrument lives as long as
the call that brought it.
"""

import enum
from dataclasses import dataclass, field

from grpcmesh.errors import FailedPrecondition, NotFound, PermissionDenied
from services.kit.actor import Actor

#: The largest single charge, in cents: ten million in currency units.
MAX_AMOUNT = 1_000_000_000
#: The longest idempotency key.
MAX_KEY = 128
#: The longest reason of a refund.
MAX_REASON = 500
#: Seconds for which the acquirer remembers a reference. Stripe keeps idempotency keys for at least a day; an
#: hour is left for clocks.
KEY_LIFETIME = 23 * 3600.0


class Method(enum.Enum):
    """The payment method."""

    CREDIT_CARD = "CREDIT_CARD"
    DEBIT_CARD = "DEBIT_CARD"
    PAYPAL = "PAYPAL"
    BANK_TRANSFER = "BANK_TRANSFER"
    DIGITAL_WALLET = "DIGITAL_WALLET"


class Status(enum.Enum):
    """The status of a payment.

    VOIDED means that its key was closed before anything was charged. UNDONE means that it was charged and
    refunded, because its batch failed or because the charge turned up after it had been given up.
    """

    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"
    UNDONE = "UNDONE"


@dataclass(frozen=True, slots=True)
class Card:
    """A card as the buyer typed it. Never stored, never in a repr."""

    number: str = field(repr=False)
    #: MM/YY
    expiry: str = field(repr=False)
    cvv: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BankAccount:
    """An account to draw from. Never stored, never in a repr."""

    account_number: str = field(repr=False)
    routing_number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet that a provider keeps."""

    wallet_id: str
    provider: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """A validated means of payment (see `services.payment.instruments`)."""

    method: Method
    details: Card | BankAccount | Wallet

    @property
    def last_four(self) -> str:
        """Return the last four digits of the card or account; empty for a wallet."""
        match self.details:
            case Card(number=number) | BankAccount(account_number=number):
                return number[-4:]
            case _:
                return ""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a method: a user, or the order service, which may act for any user."""

    actor: Actor = field(default_factory=Actor)
    order_service: bool = False

    def require_known(self) -> None:
        """Raise Unauthenticated if nobody has logged in, unless the order service calls."""
        if not self.order_service:
            self.actor.require_user()

    def payer(self, user_id: int) -> int:
        """Return the user who pays or is asked about. `user_id` is the one in the request; 0 means the
        caller.

        Raises:
            Unauthenticated: nobody has logged in.
            PermissionDenied: it is another user, and the caller is neither an admin nor the order service.
        """
        if self.order_service:
            return user_id
        self.actor.require_user()
        wanted = user_id or self.actor.user_id
        self.actor.require_self_or_admin(wanted)
        return wanted

    def require_refunder(self) -> None:
        """Raise Unauthenticated or PermissionDenied unless the order service or an admin calls."""
        if not self.order_service:
            self.actor.require_admin()

    def require_order_service(self) -> None:
        """Raise PermissionDenied unless the order service calls: voiding is a step of its saga."""
        if not self.order_service:
            raise PermissionDenied("only the order service voids a payment", "INTERNAL_METHOD")

    def scoped(self, key: str) -> str | None:
        """Return the key as it is stored: with the caller's name, so that nobody can use or guess another's
        key.
        """
        if not key:
            return None
        return f"order/{key}" if self.order_service else f"user-{self.actor.user_id}/{key}"


@dataclass(frozen=True, slots=True)
class Charge:
    """A request to charge. Without an instrument it asks for the payment that is recorded with the key."""

    user_id: int
    order_id: int
    amount: int
    key: str | None
    instrument: Instrument | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The acquirer's answer. If `made` is False, the charge was not found and counts as not made."""

    approved: bool
    transaction_id: str
    message: str
    made: bool = True


#: The outcome of a charge that cannot be found long after it was begun.
NOT_MADE = Outcome(False, "", "the charge was not made", made=False)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment. `id` is 0 until it is recorded."""

    id: int
    user_id: int
    order_id: int
    amount: int
    method: Method | None
    status: Status
    key: str | None
    token: str
    last_four: str
    created_at: float
    transaction_id: str = ""
    message: str = ""
    refunded: int = 0
    processed_at: float = 0.0
    #: The batch that it is settled with.
    batch: str | None = None
    #: Its position among all settled payments; 0 until it is settled.
    cursor: int = 0

    @property
    def succeeded(self) -> bool:
        """Return whether the money was taken. A later refund does not change that."""
        return self.status in (Status.COMPLETED, Status.REFUNDED)

    @property
    def reference(self) -> str:
        """Return the acquirer's reference of the payment: it charges once per reference."""
        return f"payment-{self.id}"

    def require_same(self, charge: Charge) -> None:
        """Check that a repeated request asks for this charge: a key stands for one charge.

        Raises:
            FailedPrecondition: KEY_REUSED, if the charge differs from the recorded one.
        """
        if self.status is not Status.VOIDED and (self.batch is not None or not self.is_of(charge)):
            raise key_reused()

    def is_of(self, charge: Charge) -> bool:
        """Return whether a charge matches this payment, as far as its data is recorded."""
        same = (self.user_id, self.order_id, self.amount) == (charge.user_id, charge.order_id, charge.amount)
        if charge.instrument is not None:
            same &= (self.method, self.last_four) == (charge.instrument.method, charge.instrument.last_four)
        return same

    def refuse_refund(self, amount: int) -> FailedPrecondition:
        """Return the reason why `amount` cents cannot be refunded."""
        if self.status not in (Status.COMPLETED, Status.REFUNDED):
            return FailedPrecondition(
                f"payment {self.id} is not completed", "PAYMENT_NOT_COMPLETED", status=self.status.value
            )
        return FailedPrecondition(
            f"{amount} cents are more than the {self.amount - self.refunded} left of payment {self.id}",
            "REFUND_EXCEEDS_PAYMENT",
            payment_id=str(self.id),
            left_cents=str(self.amount - self.refunded),
        )


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund. `settled` is set once the acquirer has it."""

    id: str
    payment_id: int
    amount: int
    reason: str
    key: str | None
    created_at: float
    settled: bool = False

    def require_same(self, other: "Refund") -> None:
        """Check that `other` is this refund again: a key stands for one refund.

        Raises:
            FailedPrecondition: KEY_REUSED, if `other` differs.
        """
        if (self.payment_id, self.amount, self.reason) != (other.payment_id, other.amount, other.reason):
            raise key_reused()


def key_reused() -> FailedPrecondition:
    """Return the error for a key that was used for another request."""
    return FailedPrecondition("the idempotency key was used for something else", "KEY_REUSED")


def payment_not_found(payment_id: int) -> NotFound:
    """Return the error for a payment that does not exist."""
    return NotFound("payment", str(payment_id))
