import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_PRODUCT_VIEWED: _ClassVar[EventKind]
    EVENT_KIND_PRODUCT_SEARCHED: _ClassVar[EventKind]
    EVENT_KIND_CART_CHANGED: _ClassVar[EventKind]
    EVENT_KIND_ORDER_PLACED: _ClassVar[EventKind]
    EVENT_KIND_ORDER_CANCELLED: _ClassVar[EventKind]
    EVENT_KIND_PAYMENT_MADE: _ClassVar[EventKind]
    EVENT_KIND_PAYMENT_REFUNDED: _ClassVar[EventKind]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_PRODUCT_VIEWED: EventKind
EVENT_KIND_PRODUCT_SEARCHED: EventKind
EVENT_KIND_CART_CHANGED: EventKind
EVENT_KIND_ORDER_PLACED: EventKind
EVENT_KIND_ORDER_CANCELLED: EventKind
EVENT_KIND_PAYMENT_MADE: EventKind
EVENT_KIND_PAYMENT_REFUNDED: EventKind

class EventRequest(_message.Message):
    __slots__ = ("event_id", "kind", "user_id", "product_id", "order_id", "quantity", "amount", "timestamp")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    kind: EventKind
    user_id: int
    product_id: int
    order_id: int
    quantity: int
    amount: float
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, event_id: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., user_id: _Optional[int] = ..., product_id: _Optional[int] = ..., order_id: _Optional[int] = ..., quantity: _Optional[int] = ..., amount: _Optional[float] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EventResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    def __init__(self, accepted: _Optional[int] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value", "timestamp", "labels", "cursor")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    timestamp: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    cursor: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., cursor: _Optional[int] = ...) -> None: ...

class GetMetricsRequest(_message.Message):
    __slots__ = ("name", "start", "end")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    name: str
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetMetricsResponse(_message.Message):
    __slots__ = ("metrics",)
    METRICS_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...

class StreamMetricsRequest(_message.Message):
    __slots__ = ("names", "after_cursor")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    after_cursor: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., after_cursor: _Optional[int] = ...) -> None: ...

class DashboardRequest(_message.Message):
    __slots__ = ("minutes",)
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    minutes: int
    def __init__(self, minutes: _Optional[int] = ...) -> None: ...

class TopProduct(_message.Message):
    __slots__ = ("product_id", "quantity", "revenue")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    REVENUE_FIELD_NUMBER: _ClassVar[int]
    product_id: int
    quantity: int
    revenue: float
    def __init__(self, product_id: _Optional[int] = ..., quantity: _Optional[int] = ..., revenue: _Optional[float] = ...) -> None: ...

class DashboardResponse(_message.Message):
    __slots__ = ("orders", "revenue", "conversion", "top_products", "by_minute")
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    REVENUE_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FIELD_NUMBER: _ClassVar[int]
    TOP_PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    BY_MINUTE_FIELD_NUMBER: _ClassVar[int]
    orders: int
    revenue: float
    conversion: float
    top_products: _containers.RepeatedCompositeFieldContainer[TopProduct]
    by_minute: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, orders: _Optional[int] = ..., revenue: _Optional[float] = ..., conversion: _Optional[float] = ..., top_products: _Optional[_Iterable[_Union[TopProduct, _Mapping]]] = ..., by_minute: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...
