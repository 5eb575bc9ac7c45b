"""Third-party test suites, run against the library by `make test-conformance`.

Interop (grpc-go's `interop` package) runs over mutual TLS; Connect's conformance suite runs in plaintext,
because its certificates carry no SPIFFE id. Both suites are Go modules. Nothing of them is kept here:
programs are built, and the protos' Python code is generated, when the tests run.
"""
