"""The analytics service: counts what happens in the shop, by the minute.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
