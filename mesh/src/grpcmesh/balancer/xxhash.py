"""XXH64, the hash of gRPC's ring and subsets. Clients in other languages must compute the same ring.

https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md. The `xxhash` package would be one more
compiled dependency of the core; the keys here are addresses and header values of 20 to 40 bytes, for which
this needs 3 to 8 µs.
"""

import struct

_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_STRIPE, _LANE, _HALF = struct.Struct("<4Q"), struct.Struct("<Q"), struct.Struct("<I")


def xxh64(data: bytes, seed: int = 0) -> int:
    """Return the 64-bit hash of `data`."""
    size, at = len(data), 0
    if size >= 32:
        hashed, at = _stripes(data, seed)
    else:
        hashed = seed + _P5
    hashed = (hashed + size) & _MASK
    while at + 8 <= size:
        hashed ^= _round(0, _LANE.unpack_from(data, at)[0])
        hashed = (_rotate(hashed, 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= size:
        hashed ^= _HALF.unpack_from(data, at)[0] * _P1 & _MASK
        hashed = (_rotate(hashed, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        hashed ^= byte * _P5 & _MASK
        hashed = _rotate(hashed, 11) * _P1 & _MASK
    return _avalanche(hashed)


def _stripes(data: bytes, seed: int) -> tuple[int, int]:
    lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
    at = 0
    while at + 32 <= len(data):
        lanes = [_round(lane, word) for lane, word in zip(lanes, _STRIPE.unpack_from(data, at), strict=True)]
        at += 32
    merged = sum(_rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
    for lane in lanes:
        merged = ((merged ^ _round(0, lane)) * _P1 + _P4) & _MASK
    return merged, at


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _MASK


def _avalanche(hashed: int) -> int:
    hashed = (hashed ^ (hashed >> 33)) * _P2 & _MASK
    hashed = (hashed ^ (hashed >> 29)) * _P3 & _MASK
    return hashed ^ (hashed >> 32)
