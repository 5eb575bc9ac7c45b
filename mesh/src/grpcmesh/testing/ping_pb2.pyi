from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PingRequest(_message.Message):
    __slots__ = ("text", "count", "delay", "fail_code", "fail_after", "fail_times", "pushback")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    FAIL_CODE_FIELD_NUMBER: _ClassVar[int]
    FAIL_AFTER_FIELD_NUMBER: _ClassVar[int]
    FAIL_TIMES_FIELD_NUMBER: _ClassVar[int]
    PUSHBACK_FIELD_NUMBER: _ClassVar[int]
    text: str
    count: int
    delay: float
    fail_code: str
    fail_after: int
    fail_times: int
    pushback: str
    def __init__(self, text: _Optional[str] = ..., count: _Optional[int] = ..., delay: _Optional[float] = ..., fail_code: _Optional[str] = ..., fail_after: _Optional[int] = ..., fail_times: _Optional[int] = ..., pushback: _Optional[str] = ...) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ("text", "replica", "number", "time_remaining", "workload", "user", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_REMAINING_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    text: str
    replica: str
    number: int
    time_remaining: float
    workload: str
    user: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, text: _Optional[str] = ..., replica: _Optional[str] = ..., number: _Optional[int] = ..., time_remaining: _Optional[float] = ..., workload: _Optional[str] = ..., user: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...
