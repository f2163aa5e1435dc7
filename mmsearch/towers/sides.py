"""The sides of which there are towers: what each can be made of, by the names that stand in its files."""

from mmsearch.towers.image_pixels import PixelsRecord
from mmsearch.towers.image_tower import ImageDesign
from mmsearch.towers.resnet_tower import ResNetDesign
from mmsearch.towers.text_tokens import ClipTokens, HubTokens, TokenizerRecord
from mmsearch.towers.text_tower import TextDesign
from mmsearch.towers.tower_files import TowerSide
from mmsearch.towers.vit_tower import ViTDesign

__all__ = ["IMAGE", "TEXT"]

TEXT: TowerSide[TextDesign, TokenizerRecord] = TowerSide(
    "text", {"transformer": TextDesign}, {"clip": ClipTokens, "hub": HubTokens}
)
IMAGE: TowerSide[ImageDesign, PixelsRecord] = TowerSide(
    "image", {"vit": ViTDesign, "resnet": ResNetDesign}, {"pixels": PixelsRecord}
)
