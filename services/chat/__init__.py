"""The chat service: rooms in which users talk, and the users who are in them.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
