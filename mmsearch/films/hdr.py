"""HDR films in the colours of SDR: a table of colours for FFmpeg's filter `lut3d`.

PQ (SMPTE ST 2084) and HLG (ITU-R BT.2100, for a screen of 1,000 nits) in BT.2020 become sRGB. Reference white is 203
nits (BT.2408). Up to four fifths of it, light comes out as it would of an SDR film; what is brighter is bent to ever
less, channel by channel, so that highlights lose colour before they are white. That is an approximation: no two players
agree on it, and what Dolby Vision and HDR10+ say of each scene is not looked at.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSFERS", "bend", "write_cube"]

_PQ, _HLG = 16, 18  # of ITU-T H.273
TRANSFERS = frozenset({_PQ, _HLG})
_WHITE_NITS, _HLG_NITS, _HLG_GAMMA = 203.0, 1_000.0, 1.2
_KNEE = 0.8
_NODES = 33
_FROM_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
_LUMA = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020


def write_cube(path: Path, transfer: int) -> None:
    """Write the table for a transfer function of ITU-T H.273, one of TRANSFERS."""
    nodes = np.linspace(0, 1, _NODES)
    blue, green, red = np.meshgrid(nodes, nodes, nodes, indexing="ij")  # red changes fastest
    signal = np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1)
    light = bend(np.maximum(_light(signal, transfer) @ _FROM_BT2020.T, 0))
    colours = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    rows = "\n".join(f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in colours.tolist())
    path.write_text(f"LUT_3D_SIZE {_NODES}\n{rows}\n")


def _light(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Light of a screen, reference white being 1, of (n, 3) signals from 0 to 1."""
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        return 10_000 / _WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(_HLG_NITS / _WHITE_NITS * scene * (scene @ _LUMA)[:, None] ** (_HLG_GAMMA - 1))


def bend(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light from 0 to any brightness as 0 to 1: the same up to the knee, above it ever less.

    >>> bend(np.array([0.0, 0.5, 0.8, 1.0, 5.0])).round(3).tolist()
    [0.0, 0.5, 0.8, 0.926, 1.0]
    """
    room = 1 - _KNEE
    return np.where(light <= _KNEE, light, _KNEE + room * (1 - np.exp(-np.maximum(light - _KNEE, 0) / room)))
