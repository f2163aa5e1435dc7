"""Towers without torch: the text and image sides of open_clip's models in numpy, over memory-mapped weights.

Importing torch and open_clip and building a model takes seconds, encoding a query tenths of one. So the towers of a
model are laid out once, each in one file of the user's cache, when their model is first loaded (`mmsearch.encoders`),
and queries use these files:

    text_tokens       texts -> token ids, as open_clip makes them
    large_vocabulary  ... by tokenizers of which a text needs a small part
    text_tower        token ids -> vectors
    hub_tower         ... of the multilingual ones, whose text side is of the package transformers
    text_batches      what both have in common
    image_pixels      pictures -> pixels, as open_clip makes them
    image_tower       pixels -> vectors, by a vit_tower or a resnet_tower
    inner_picture     a picture half way through one, where places can be hidden from what follows
    transformer       the blocks of texts' and of most images' towers
    sides             what a tower of each side can be made of
    tower_files       the files in the cache: written whole, checked before they are trusted, dropped when long unused

By numpy, since a runtime would have to be opened: onnxruntime took four times as long, in processor time, to open the
image tower of a ViT-B-32 and encode one picture.

Neither torch nor open_clip is imported here or in anything that this imports.
"""
