"""Meshmart's mesh: a gRPC process becomes a mesh member by importing this library. No sidecar.

Import it before gRPC, which reads its environment once: `grpcmesh.grpc_environment`.
"""

from grpcmesh import grpc_environment as grpc_environment
