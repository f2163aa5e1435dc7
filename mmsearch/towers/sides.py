"""The sides of which there are towers: what each can be made of, by the names that stand in its files."""

from mmsearch.towers.image_pixels import PixelsRecord
from mmsearch.towers.image_tower import ViTDesign
from mmsearch.towers.text_tokens import ClipTokens, HubTokens, TokenizerRecord
from mmsearch.towers.text_tower import TextDesign
from mmsearch.towers.tower_files import TowerSide

__all__ = ["IMAGE", "TEXT"]

TEXT: TowerSide[TextDesign, TokenizerRecord] = TowerSide(
    "text", {"transformer": TextDesign}, {"clip": ClipTokens, "hub": HubTokens}
)
IMAGE: TowerSide[ViTDesign, PixelsRecord] = TowerSide("image", {"vit": ViTDesign}, {"pixels": PixelsRecord})
