import datetime

from ecommerce import common_pb2 as _common_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PaymentMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYMENT_METHOD_UNSPECIFIED: _ClassVar[PaymentMethod]
    PAYMENT_METHOD_CREDIT_CARD: _ClassVar[PaymentMethod]
    PAYMENT_METHOD_DEBIT_CARD: _ClassVar[PaymentMethod]
    PAYMENT_METHOD_PAYPAL: _ClassVar[PaymentMethod]
    PAYMENT_METHOD_BANK_TRANSFER: _ClassVar[PaymentMethod]
    PAYMENT_METHOD_DIGITAL_WALLET: _ClassVar[PaymentMethod]

class PaymentStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYMENT_STATUS_UNSPECIFIED: _ClassVar[PaymentStatus]
    PAYMENT_STATUS_PENDING: _ClassVar[PaymentStatus]
    PAYMENT_STATUS_PROCESSING: _ClassVar[PaymentStatus]
    PAYMENT_STATUS_COMPLETED: _ClassVar[PaymentStatus]
    PAYMENT_STATUS_FAILED: _ClassVar[PaymentStatus]
    PAYMENT_STATUS_REFUNDED: _ClassVar[PaymentStatus]
PAYMENT_METHOD_UNSPECIFIED: PaymentMethod
PAYMENT_METHOD_CREDIT_CARD: PaymentMethod
PAYMENT_METHOD_DEBIT_CARD: PaymentMethod
PAYMENT_METHOD_PAYPAL: PaymentMethod
PAYMENT_METHOD_BANK_TRANSFER: PaymentMethod
PAYMENT_METHOD_DIGITAL_WALLET: PaymentMethod
PAYMENT_STATUS_UNSPECIFIED: PaymentStatus
PAYMENT_STATUS_PENDING: PaymentStatus
PAYMENT_STATUS_PROCESSING: PaymentStatus
PAYMENT_STATUS_COMPLETED: PaymentStatus
PAYMENT_STATUS_FAILED: PaymentStatus
PAYMENT_STATUS_REFUNDED: PaymentStatus

class Payment(_message.Message):
    __slots__ = ("id", "order_id", "amount", "method", "status", "transaction_id", "processed_at", "user_id", "last_four", "refunded_amount")
    ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESSED_AT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_FOUR_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    id: int
    order_id: int
    amount: float
    method: PaymentMethod
    status: PaymentStatus
    transaction_id: str
    processed_at: _timestamp_pb2.Timestamp
    user_id: int
    last_four: str
    refunded_amount: float
    def __init__(self, id: _Optional[int] = ..., order_id: _Optional[int] = ..., amount: _Optional[float] = ..., method: _Optional[_Union[PaymentMethod, str]] = ..., status: _Optional[_Union[PaymentStatus, str]] = ..., transaction_id: _Optional[str] = ..., processed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_id: _Optional[int] = ..., last_four: _Optional[str] = ..., refunded_amount: _Optional[float] = ...) -> None: ...

class CreditCard(_message.Message):
    __slots__ = ("number", "expiry", "cvv")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    CVV_FIELD_NUMBER: _ClassVar[int]
    number: str
    expiry: str
    cvv: str
    def __init__(self, number: _Optional[str] = ..., expiry: _Optional[str] = ..., cvv: _Optional[str] = ...) -> None: ...

class BankAccount(_message.Message):
    __slots__ = ("account_number", "routing_number")
    ACCOUNT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROUTING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    account_number: str
    routing_number: str
    def __init__(self, account_number: _Optional[str] = ..., routing_number: _Optional[str] = ...) -> None: ...

class DigitalWallet(_message.Message):
    __slots__ = ("wallet_id", "provider")
    WALLET_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    wallet_id: str
    provider: str
    def __init__(self, wallet_id: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class PaymentInstrument(_message.Message):
    __slots__ = ("method", "credit_card", "bank_account", "digital_wallet")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CREDIT_CARD_FIELD_NUMBER: _ClassVar[int]
    BANK_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DIGITAL_WALLET_FIELD_NUMBER: _ClassVar[int]
    method: PaymentMethod
    credit_card: CreditCard
    bank_account: BankAccount
    digital_wallet: DigitalWallet
    def __init__(self, method: _Optional[_Union[PaymentMethod, str]] = ..., credit_card: _Optional[_Union[CreditCard, _Mapping]] = ..., bank_account: _Optional[_Union[BankAccount, _Mapping]] = ..., digital_wallet: _Optional[_Union[DigitalWallet, _Mapping]] = ...) -> None: ...

class PaymentRequest(_message.Message):
    __slots__ = ("order_id", "amount", "method", "card_number", "expiry_date", "cvv", "credit_card", "bank_account", "digital_wallet", "idempotency_key", "user_id")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CARD_NUMBER_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_DATE_FIELD_NUMBER: _ClassVar[int]
    CVV_FIELD_NUMBER: _ClassVar[int]
    CREDIT_CARD_FIELD_NUMBER: _ClassVar[int]
    BANK_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DIGITAL_WALLET_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: int
    amount: float
    method: PaymentMethod
    card_number: str
    expiry_date: str
    cvv: str
    credit_card: CreditCard
    bank_account: BankAccount
    digital_wallet: DigitalWallet
    idempotency_key: str
    user_id: int
    def __init__(self, order_id: _Optional[int] = ..., amount: _Optional[float] = ..., method: _Optional[_Union[PaymentMethod, str]] = ..., card_number: _Optional[str] = ..., expiry_date: _Optional[str] = ..., cvv: _Optional[str] = ..., credit_card: _Optional[_Union[CreditCard, _Mapping]] = ..., bank_account: _Optional[_Union[BankAccount, _Mapping]] = ..., digital_wallet: _Optional[_Union[DigitalWallet, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., user_id: _Optional[int] = ...) -> None: ...

class PaymentResponse(_message.Message):
    __slots__ = ("payment", "success", "message", "cursor", "payments")
    PAYMENT_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAYMENTS_FIELD_NUMBER: _ClassVar[int]
    payment: Payment
    success: bool
    message: str
    cursor: int
    payments: _containers.RepeatedCompositeFieldContainer[Payment]
    def __init__(self, payment: _Optional[_Union[Payment, _Mapping]] = ..., success: _Optional[bool] = ..., message: _Optional[str] = ..., cursor: _Optional[int] = ..., payments: _Optional[_Iterable[_Union[Payment, _Mapping]]] = ...) -> None: ...

class RefundRequest(_message.Message):
    __slots__ = ("payment_id", "amount", "reason", "idempotency_key")
    PAYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    payment_id: int
    amount: float
    reason: str
    idempotency_key: str
    def __init__(self, payment_id: _Optional[int] = ..., amount: _Optional[float] = ..., reason: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class RefundResponse(_message.Message):
    __slots__ = ("success", "message", "refund_id")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    success: bool
    message: str
    refund_id: str
    def __init__(self, success: _Optional[bool] = ..., message: _Optional[str] = ..., refund_id: _Optional[str] = ...) -> None: ...

class VoidPaymentRequest(_message.Message):
    __slots__ = ("idempotency_key", "reason")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    reason: str
    def __init__(self, idempotency_key: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class VoidPaymentResponse(_message.Message):
    __slots__ = ("payment",)
    PAYMENT_FIELD_NUMBER: _ClassVar[int]
    payment: Payment
    def __init__(self, payment: _Optional[_Union[Payment, _Mapping]] = ...) -> None: ...

class GetPaymentHistoryRequest(_message.Message):
    __slots__ = ("user_id", "page", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    page: int
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[int] = ..., page: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...
