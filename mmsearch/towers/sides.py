"""The sides of which there are towers: what each can be made of, by the names that stand in its files."""

from collections.abc import Mapping
from typing import TypeAlias

from mmsearch.towers.hub_tower import HubTextDesign, HubTextTower
from mmsearch.towers.image_pixels import PixelsRecord
from mmsearch.towers.image_tower import ImageDesign
from mmsearch.towers.resnet_tower import ResNetDesign
from mmsearch.towers.text_batches import BatchedTexts
from mmsearch.towers.text_tokens import ClipTokens, HubTokens, TokenizerRecord
from mmsearch.towers.text_tower import TextDesign, TextTower
from mmsearch.towers.tower_files import TowerSide
from mmsearch.towers.transformer import Floats
from mmsearch.towers.vit_tower import ViTDesign

__all__ = ["IMAGE", "TEXT", "AnyTextDesign", "make_text_tower"]

AnyTextDesign: TypeAlias = TextDesign | HubTextDesign

TEXT: TowerSide[AnyTextDesign, TokenizerRecord] = TowerSide(
    "text", {"transformer": TextDesign, "hub": HubTextDesign}, {"clip": ClipTokens, "hub": HubTokens}
)
IMAGE: TowerSide[ImageDesign, PixelsRecord] = TowerSide(
    "image", {"vit": ViTDesign, "resnet": ResNetDesign}, {"pixels": PixelsRecord}
)


def make_text_tower(design: AnyTextDesign, weights: Mapping[str, Floats]) -> BatchedTexts:
    """The tower of a design, over its weights. Raises ValueError where a tensor is missing."""
    if isinstance(design, HubTextDesign):
        return HubTextTower(design, weights)
    return TextTower(design, weights)
