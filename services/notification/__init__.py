"""The notification service: an inbox for each user, and letters by SMTP.

May be imported by nothing. Other services reach it by its gRPC methods. Start reading in `domain`.
"""
