"""The product service: the catalogue, its search and assistant, and the stock as a ledger of movements.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
