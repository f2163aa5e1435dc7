"""The sides of a model that torch has loaded, laid out in the cache for queries without torch, once a model.

What is laid out is read from the model itself, compared with it there and then, and not used where it disagrees.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from mmsearch.encoders.image_layout import lay_out_images
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.text_layout import lay_out_texts
from mmsearch.encoders.tokens import Tokenizer
from mmsearch.encoders.torch_parts import Unsuited
from mmsearch.identity import EncoderIdentity
from mmsearch.towers.sides import IMAGE, TEXT
from mmsearch.towers.tower_files import NoTower, StoredTower, TowerSide, is_decided, write_reason, write_tower

__all__ = ["keep_towers"]

_Design = TypeVar("_Design")
_Input = TypeVar("_Input")


def keep_towers(model: Any, tokenizer: Tokenizer, preprocessing: Preprocessing, identity: EncoderIdentity) -> None:
    """Lay out the sides of a model (fp32, on the CPU) in the cache, unless they are there; or the reason why not.

    A cache that cannot be written costs time at the next query, no more.
    """
    _keep_side(TEXT, identity.fingerprint, lambda: lay_out_texts(model, tokenizer, identity))
    _keep_side(IMAGE, identity.fingerprint, lambda: lay_out_images(model, preprocessing, identity))


def _keep_side(
    side: TowerSide[_Design, _Input], fingerprint: str, lay_out: Callable[[], StoredTower[_Design, _Input]]
) -> None:
    if is_decided(side, fingerprint):
        return
    try:
        try:
            write_tower(side, lay_out())
        except Unsuited as reason:
            write_reason(side, fingerprint, str(reason))
    except NoTower:
        return
