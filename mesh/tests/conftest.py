"""Configuration shared by all tests of the library."""

import os

from hypothesis import HealthCheck, settings

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once

# No timing as an absolute: machines are shared. Of a library's profile for CI the rest stays.
_THOROUGH = settings(settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", _THOROUGH)
# Outside CI somebody waits for the tests: a quarter of the examples.
settings.register_profile("grpcmesh", _THOROUGH, max_examples=_THOROUGH.max_examples // 4)
settings.load_profile("thorough" if os.environ.get("CI") else "grpcmesh")
