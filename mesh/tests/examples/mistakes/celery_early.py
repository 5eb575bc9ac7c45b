"""The Celery example with a mistake: it makes a call at import time, which is before the pool is forked."""

from hello_pb2 import HelloRequest
from tasks import app as app
from tasks import greeter

print(greeter.SayHello(HelloRequest(name="parent")).message, flush=True)
