"""What the sides that are laid out in the cache have in common: they are read from it, and give unit vectors."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.tower_files import NoTower, StoredTower, TowerSide, read_tower

__all__ = ["read_side", "unit_vectors"]

_Design = TypeVar("_Design")
_Input = TypeVar("_Input")


def read_side(side: TowerSide[_Design, _Input], identity: EncoderIdentity) -> StoredTower[_Design, _Input]:
    """The tower of an encoder's side. Raises NoTower, whose message says why there is none."""
    stored = read_tower(side, identity.fingerprint)
    if stored.dim != identity.dim:
        raise NoTower(f"its {side.name} side gives vectors of {stored.dim} numbers, the gallery has {identity.dim}")
    return stored


def unit_vectors(vectors: NDArray[np.float32], identity: EncoderIdentity) -> NDArray[np.float32]:
    """(n, dim), of which each is brought to length 1 in place. Raises EncoderError for what is no number."""
    if not np.isfinite(vectors).all():
        raise EncoderError(f"{identity.spec} gave vectors with NaN or infinity. Its weights may be damaged.")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, np.finfo(np.float32).tiny)
    return vectors
