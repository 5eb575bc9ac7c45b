"""The payment service: charges and refunds cards through an acquirer, and keeps a book of both.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
