"""Payments: what they are, and what may be done with them.

Amounts are integer cents, times are Unix seconds. Nothing here holds on to a card: an instrument
lives as long as the call that brought it.
"""

import enum
from dataclasses import dataclass, field

from grpcmesh.errors import FailedPrecondition, NotFound, PermissionDenied
from services.kit.actor import Actor

#: The largest single charge, in cents: ten million.
MAX_AMOUNT = 1_000_000_000
#: The longest idempotency key.
MAX_KEY = 128
#: The longest reason of a refund.
MAX_REASON = 500
#: Seconds for which the acquirer remembers a reference. Stripe keeps idempotency keys for a day at least; an
#: hour is left for clocks.
KEY_LIFETIME = 23 * 3600.0


class Method(enum.Enum):
    """How a payment is made."""

    CREDIT_CARD = "CREDIT_CARD"
    DEBIT_CARD = "DEBIT_CARD"
    PAYPAL = "PAYPAL"
    BANK_TRANSFER = "BANK_TRANSFER"
    DIGITAL_WALLET = "DIGITAL_WALLET"


class Status(enum.Enum):
    """Where a payment is in its life.

    VOIDED: its key was closed before anything was charged. UNDONE: it was charged, and given back because
    its batch failed or because it turned up after it had been given up.
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
    """A wallet kept by a provider."""

    wallet_id: str
    provider: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """A validated way to pay (see `services.payment.instruments`)."""

    method: Method
    details: Card | BankAccount | Wallet

    @property
    def last_four(self) -> str:
        """The last four digits of the card or account; empty for a wallet."""
        match self.details:
            case Card(number=number) | BankAccount(account_number=number):
                return number[-4:]
            case _:
                return ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user, or the order service, which is believed about whom it acts for."""

    actor: Actor = field(default_factory=Actor)
    order_service: bool = False

    def require_known(self) -> None:
        """Raises Unauthenticated where nobody has logged in and the order service does not vouch."""
        if not self.order_service:
            self.actor.require_user()

    def payer(self, user_id: int) -> int:
        """The user who pays or is asked about, where the request names `user_id` (0: the caller)."""
        if self.order_service:
            return user_id
        self.actor.require_user()
        wanted = user_id or self.actor.user_id
        self.actor.require_self_or_admin(wanted)
        return wanted

    def require_refunder(self) -> None:
        """Refunds are the order service's and an admin's."""
        if not self.order_service:
            self.actor.require_admin()

    def require_order_service(self) -> None:
        """Voiding is a step of the order service's saga, and nobody else's."""
        if not self.order_service:
            raise PermissionDenied("only the order service voids a payment", "INTERNAL_METHOD")

    def scoped(self, key: str) -> str | None:
        """The key as it is stored: nobody can take, or guess at, a key of somebody else's."""
        if not key:
            return None
        return f"order/{key}" if self.order_service else f"user-{self.actor.user_id}/{key}"


@dataclass(frozen=True, slots=True)
class Charge:
    """A request to charge. Without an instrument it asks for what was recorded under the key."""

    user_id: int
    order_id: int
    amount: int
    key: str | None
    instrument: Instrument | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The acquirer's answer. `made`: whether there was one; if not, the charge was never made, it seems."""

    approved: bool
    transaction_id: str
    message: str
    made: bool = True


#: Of a charge that cannot be found long after it was begun.
NOT_MADE = Outcome(False, "", "the charge was not made", made=False)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment, as recorded. `id` is 0 until it is."""

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
    #: Its place among all settled payments; 0 until it is settled.
    cursor: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the money was taken and, if it was given back since, for a reason of its own."""
        return self.status in (Status.COMPLETED, Status.REFUNDED)

    @property
    def reference(self) -> str:
        """What the acquirer knows it by: the acquirer charges once per reference."""
        return f"payment-{self.id}"

    def require_same(self, charge: Charge) -> None:
        """A key stands for one charge.

        Raises:
            FailedPrecondition: KEY_REUSED, where the charge differs from the one recorded.
        """
        if self.status is not Status.VOIDED and (self.batch is not None or not self.is_of(charge)):
            raise key_reused()

    def is_of(self, charge: Charge) -> bool:
        """Whether the charge, as far as anything of it is recorded, is that of this payment."""
        same = (self.user_id, self.order_id, self.amount) == (charge.user_id, charge.order_id, charge.amount)
        if charge.instrument is not None:
            same &= (self.method, self.last_four) == (charge.instrument.method, charge.instrument.last_four)
        return same

    def refuse_refund(self, amount: int) -> FailedPrecondition:
        """Why `amount` cannot be given back."""
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
    """Money given back; `settled` once the acquirer has it."""

    id: str
    payment_id: int
    amount: int
    reason: str
    key: str | None
    created_at: float
    settled: bool = False

    def require_same(self, other: "Refund") -> None:
        """A key stands for one refund.

        Raises:
            FailedPrecondition: KEY_REUSED, where `other` is not this refund again.
        """
        if (self.payment_id, self.amount, self.reason) != (other.payment_id, other.amount, other.reason):
            raise key_reused()


def key_reused() -> FailedPrecondition:
    """The same key came with another request."""
    return FailedPrecondition("the idempotency key was used for something else", "KEY_REUSED")


def payment_not_found(payment_id: int) -> NotFound:
    """There is no such payment."""
    return NotFound("payment", str(payment_id))
