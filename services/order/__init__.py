"""The order service: places an order as a saga of reserving, charging and confirming, and recovers it.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
