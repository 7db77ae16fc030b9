"""Random numbers as a function of a key and a place, without a state: SplitMix64 (Steele, Lea & Flood 2014, figure 16).

Number i of a key is the mix of key + (i + 1) · γ. The whole numbers are the same on every device, and nothing is copied
to one or read back from it. Normal ones differ in their last digits where logarithms and cosines do.
"""

from __future__ import annotations

import math

from torch import Tensor

_WORD = 2**64
_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def bits(key: int, places: Tensor) -> Tensor:
    """64 random bits for each place: key 0 … 2⁶⁴ - 1, places (...) int64 → (...) int64; distinct places differ."""
    z = places * _signed(_GAMMA) + _signed((key + _GAMMA) % _WORD)  # (int64 wraps around)
    z = (z ^ _shifted(z, 30)) * _signed(_FIRST)
    z = (z ^ _shifted(z, 27)) * _signed(_SECOND)
    return z ^ _shifted(z, 31)


def uniform(key: int, places: Tensor) -> Tensor:
    """places (...) → (...) float32 in [0, 1), multiples of 2⁻²⁴."""
    return _shifted(bits(key, places), 40).float() * 2.0**-24


def uniform_double(key: int, places: Tensor) -> Tensor:
    """places (...) → (...) float64 in [0, 1), multiples of 2⁻⁵³."""
    return _shifted(bits(key, places), 11).double() * 2.0**-53


def normal_pairs(key: int, places: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normal numbers for each place (...), float32 (Box & Muller 1958); at most 6.8."""
    z = bits(key, places)
    first = (_shifted(z, 32).float() + 0.5) * 2.0**-32  # in (0, 1]
    angle = (z & 0xFFFFFFFF).float() * (2 * math.pi * 2.0**-32)
    radius = (-2 * first.log()).sqrt()
    return radius * angle.cos(), radius * angle.sin()


def _shifted(z: Tensor, count: int) -> Tensor:
    """z / 2^count of the unsigned word that an int64 stands for."""
    return (z >> count) & ((1 << (64 - count)) - 1)


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    return word - _WORD if word >= _WORD // 2 else word
