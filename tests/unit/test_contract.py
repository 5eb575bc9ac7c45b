"""The generated code against the names, numbers and types that shared/CONTRACT.md fixes.

The fixed part is repeated here in the contract's own notation, because clients elsewhere hold it:
a change of this file is a change of the wire.
"""

import re

import pytest
from ecommerce import analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

assert all((analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2))

POOL = descriptor_pool.Default()

MESSAGES = """
Product: int32 id=1, string name=2, string description=3, double price=4, int32 stock=5, ProductCategory category=6, *string tags=7, ts created_at=8, ts updated_at=9
GetProductRequest: int32 id=1
GetProductResponse: Product product=1
ListProductsRequest: int32 page=1, int32 page_size=2, ProductCategory category=3
CreateProductRequest: string name=1, string description=2, double price=3, int32 stock=4, ProductCategory category=5, *string tags=6
CreateProductResponse: Product product=1
UpdateProductRequest: int32 id=1, string name=2, string description=3, double price=4, int32 stock=5, ProductCategory category=6, *string tags=7
UpdateProductResponse: Product product=1
DeleteProductRequest: int32 id=1
SearchProductsRequest: string query=1, ProductCategory category=2, double min_price=3, double max_price=4
CreateProductsResponse: *Product products=1, double total_price=2, int32 count=3
Order: int32 id=1, int32 user_id=2, *OrderItem items=3, double total_amount=4, OrderStatus status=5, Address shipping_address=6, ts created_at=7, ts updated_at=8
OrderItem: int32 product_id=1, string product_name=2, int32 quantity=3, double unit_price=4, double total_price=5
CreateOrderRequest: int32 user_id=1, *OrderItem items=2, Address shipping_address=3
CreateOrderResponse: Order order=1
GetOrderRequest: int32 id=1
GetOrderResponse: Order order=1
UpdateOrderStatusRequest: int32 id=1, OrderStatus status=2
UpdateOrderStatusResponse: Order order=1
ListOrdersRequest: int32 user_id=1, OrderStatus status=2, int32 page=3, int32 page_size=4
OrderUpdate: int32 order_id=1, OrderStatus status=2, string message=3, ts timestamp=4
Address: string street=1, string city=2, string state=3, string zip_code=4, string country=5
Payment: int32 id=1, int32 order_id=2, double amount=3, PaymentMethod method=4, PaymentStatus status=5, string transaction_id=6, ts processed_at=7
PaymentRequest: int32 order_id=1, double amount=2, PaymentMethod method=3, string card_number=4, string expiry_date=5, string cvv=6, CreditCard credit_card=20, BankAccount bank_account=21, DigitalWallet digital_wallet=22
CreditCard: string number=1, string expiry=2, string cvv=3
BankAccount: string account_number=1, string routing_number=2
DigitalWallet: string wallet_id=1, string provider=2
PaymentResponse: Payment payment=1, bool success=2, string message=3
RefundRequest: int32 payment_id=1, double amount=2, string reason=3
RefundResponse: bool success=1, string message=2, string refund_id=3
GetPaymentHistoryRequest: int32 user_id=1, int32 page=2, int32 page_size=3
User: int32 id=1, string name=2, string email=3, int64 created_at=4, UserStatus status=5, int32 age=20, *string roles=21, UserProfile profile=22
UserProfile: int32 id=1, string name=2, string email=3, Address address=4, *string phone_numbers=5, map metadata=6, ts created_at=7
GetUserRequest: int32 id=1
GetUserResponse: User user=1
CreateUserRequest: string name=1, string email=2
CreateUserResponse: User user=1
UpdateUserRequest: int32 id=1, string name=2, string email=3
UpdateUserResponse: User user=1
DeleteUserRequest: int32 id=1
DeleteUserResponse: bool success=1
ListUsersRequest: int32 page=1, int32 page_size=2
BatchCreateUsersResponse: *User users=1, int32 count=2
"""

ENUMS = """
ProductCategory: UNSPECIFIED=0 ELECTRONICS=1 CLOTHING=2 BOOKS=3 HOME=4 SPORTS=5 (PRODUCT_CATEGORY_)
OrderStatus: UNSPECIFIED=0 PENDING=1 CONFIRMED=2 SHIPPED=3 DELIVERED=4 CANCELLED=5 REFUNDED=6 (ORDER_STATUS_)
PaymentMethod: UNSPECIFIED=0 CREDIT_CARD=1 DEBIT_CARD=2 PAYPAL=3 BANK_TRANSFER=4 DIGITAL_WALLET=5 (PAYMENT_METHOD_)
PaymentStatus: UNSPECIFIED=0 PENDING=1 PROCESSING=2 COMPLETED=3 FAILED=4 REFUNDED=5 (PAYMENT_STATUS_)
UserStatus: UNSPECIFIED=0 ACTIVE=1 INACTIVE=2 SUSPENDED=3 (USER_STATUS_)
"""

#: `*` before a type streams it.
METHODS = """
ProductService: GetProduct(GetProductRequest)GetProductResponse ListProducts(ListProductsRequest)*Product CreateProduct(CreateProductRequest)CreateProductResponse UpdateProduct(UpdateProductRequest)UpdateProductResponse DeleteProduct(DeleteProductRequest)Empty SearchProducts(SearchProductsRequest)*Product CreateProducts(*CreateProductRequest)CreateProductsResponse ChatWithProducts(*ChatMessage)*ChatMessage
OrderService: CreateOrder(CreateOrderRequest)CreateOrderResponse GetOrder(GetOrderRequest)GetOrderResponse UpdateOrderStatus(UpdateOrderStatusRequest)UpdateOrderStatusResponse ListOrders(ListOrdersRequest)*Order StreamOrderUpdates(GetOrderRequest)*OrderUpdate
PaymentService: ProcessPayment(PaymentRequest)PaymentResponse RefundPayment(RefundRequest)RefundResponse GetPaymentHistory(GetPaymentHistoryRequest)*Payment StreamPayments(Empty)*PaymentResponse ProcessPaymentStream(*PaymentRequest)PaymentResponse BidirectionalPaymentStream(*PaymentRequest)*PaymentResponse
UserService: GetUser(GetUserRequest)GetUserResponse CreateUser(CreateUserRequest)CreateUserResponse UpdateUser(UpdateUserRequest)UpdateUserResponse DeleteUser(DeleteUserRequest)DeleteUserResponse ListUsers(ListUsersRequest)*User BatchCreateUsers(*CreateUserRequest)BatchCreateUsersResponse
NotificationService: SendNotification(NotificationRequest)NotificationResponse StreamNotifications(StreamNotificationsRequest)*Notification
ChatService: JoinRoom(JoinRoomRequest)*ChatMessage SendMessage(*ChatMessage)Empty GetRoomHistory(GetRoomHistoryRequest)*ChatMessage GetOnlineUsers(GetOnlineUsersRequest)*User Chat(*ChatMessage)*ChatMessage
AnalyticsService: TrackEvent(EventRequest)EventResponse GetMetrics(GetMetricsRequest)GetMetricsResponse StreamMetrics(StreamMetricsRequest)*Metric GetDashboard(DashboardRequest)DashboardResponse TrackEvents(*EventRequest)EventResponse
"""

SCALARS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def type_of(field: FieldDescriptor) -> str:
    message: Descriptor | None = field.message_type
    if message is not None:
        if message.GetOptions().map_entry:
            return "map"
        name = {"google.protobuf.Timestamp": "ts"}.get(message.full_name, message.name)
    else:
        name = field.enum_type.name if field.enum_type else SCALARS[field.type]
    return f"*{name}" if field.is_repeated else name


@pytest.mark.parametrize("line", lines(MESSAGES), ids=lambda line: line.split(":")[0])
def test_a_message_has_the_fields_of_the_contract(line: str) -> None:
    name, _, fields = line.partition(": ")
    message = POOL.FindMessageTypeByName(f"ecommerce.{name}")
    for part in fields.split(", "):
        kind, field_name, number = re.fullmatch(r"(\*?\w+) (\w+)=(\d+)", part).groups()  # type: ignore[union-attr]
        field = message.fields_by_name[field_name]
        assert (field.number, type_of(field)) == (int(number), kind), f"{name}.{field_name}"


@pytest.mark.parametrize("line", lines(ENUMS), ids=lambda line: line.split(":")[0])
def test_an_enum_has_the_values_of_the_contract(line: str) -> None:
    name, _, rest = line.partition(": ")
    values, _, prefix = rest.rstrip(")").partition(" (")
    enum = POOL.FindEnumTypeByName(f"ecommerce.{name}")
    expected = {prefix + value.split("=")[0]: int(value.split("=")[1]) for value in values.split()}
    assert {v.name: v.number for v in enum.values} == expected


@pytest.mark.parametrize("line", lines(METHODS), ids=lambda line: line.split(":")[0])
def test_a_service_has_the_methods_of_the_contract(line: str) -> None:
    name, _, methods = line.partition(": ")
    service = POOL.FindServiceByName(f"ecommerce.{name}")
    for part in methods.split():
        method_name, request, response = re.fullmatch(r"(\w+)\((\*?\w+)\)(\*?\w+)", part).groups()  # type: ignore[union-attr]
        method = service.methods_by_name[method_name]
        assert ("*" * method.client_streaming + method.input_type.name) == request
        assert ("*" * method.server_streaming + method.output_type.name) == response


def test_the_package_is_ecommerce() -> None:
    assert POOL.FindFileByName("ecommerce/product.proto").package == "ecommerce"
