from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    PAID: _ClassVar[Status]
    DECLINED: _ClassVar[Status]
    REFUNDED: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
PAID: Status
DECLINED: Status
REFUNDED: Status

class ChargeRequest(_message.Message):
    __slots__ = ("order_id", "customer", "amount_cents", "currency")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_CENTS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    customer: str
    amount_cents: int
    currency: str
    def __init__(self, order_id: _Optional[str] = ..., customer: _Optional[str] = ..., amount_cents: _Optional[int] = ..., currency: _Optional[str] = ...) -> None: ...

class RefundRequest(_message.Message):
    __slots__ = ("charge_id", "order_id")
    CHARGE_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    charge_id: str
    order_id: str
    def __init__(self, charge_id: _Optional[str] = ..., order_id: _Optional[str] = ...) -> None: ...

class GetChargeRequest(_message.Message):
    __slots__ = ("charge_id",)
    CHARGE_ID_FIELD_NUMBER: _ClassVar[int]
    charge_id: str
    def __init__(self, charge_id: _Optional[str] = ...) -> None: ...

class WatchChargesRequest(_message.Message):
    __slots__ = ("customer",)
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    customer: str
    def __init__(self, customer: _Optional[str] = ...) -> None: ...

class ChargeRecord(_message.Message):
    __slots__ = ("id", "order_id", "customer", "amount_cents", "currency", "status", "reason", "created_at_ms", "revision")
    ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_CENTS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    order_id: str
    customer: str
    amount_cents: int
    currency: str
    status: Status
    reason: str
    created_at_ms: int
    revision: int
    def __init__(self, id: _Optional[str] = ..., order_id: _Optional[str] = ..., customer: _Optional[str] = ..., amount_cents: _Optional[int] = ..., currency: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., reason: _Optional[str] = ..., created_at_ms: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...
