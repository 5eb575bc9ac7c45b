"""Configuration shared by all tests of the library."""

from hypothesis import HealthCheck, settings

# No timing as an absolute: machines are shared. Of a library's profile for CI the rest stays.
settings.register_profile("grpcmesh", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("grpcmesh")
