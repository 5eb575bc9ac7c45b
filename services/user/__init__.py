"""The user service: accounts, log-ins, sessions, and the keys with which tokens are signed and verified.

May be imported by `services.migrate` and, for its limit of log-in attempts, by `meshmart.console`. Other
services reach it by its gRPC methods. Start reading in `domain`.
"""
