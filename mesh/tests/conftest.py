"""What all tests of the library share."""

from hypothesis import settings

# No timing as an absolute: machines are shared. Of a library's profile for CI the rest stays.
settings.register_profile("grpcmesh", settings(), deadline=None)
settings.load_profile("grpcmesh")
