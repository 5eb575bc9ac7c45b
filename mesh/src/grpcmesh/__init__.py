"""Meshmart's mesh: a gRPC process becomes a mesh member by importing this library. No sidecar."""
