"""The Flask example with a mistake: a call at import time, which with --preload is before the fork."""

from app import app as app
from app import greeter
from hello_pb2 import HelloRequest

print(greeter.SayHello(HelloRequest(name="parent")).message, flush=True)
