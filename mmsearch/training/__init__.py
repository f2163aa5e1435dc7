"""`finetune`: a model is taught with pairs of pictures and texts, and the gallery is kept where that can be.

records         pairs, splits, what training gives, the report
pairs           pairs from a gallery's captions
class_folders   pairs from folders of classes
splitting       training, validation and held-out pairs, by picture
guards          before against after, with intervals; weights between both; what went wrong, by name

tower_training  both towers, step by step: `--lora` and `--full`
tuned_towers    what `finetune` is given of them
trainable_model a model of open_clip as it is trained
losses          the losses of CLIP and SigLIP
gradient_cache  batches larger than the memory
low_rank        narrow additions to the weights, merged in the end (LoRA)
hard_negatives  pictures that a text nearly fits
looking         where these are looked for: in the index of a gallery
batches         which pairs stand in which batch
schedule        how fast training goes at each step
augmentation    pictures cropped at random
pixel_file      pictures decoded once
checkpoints     where training stands, on the disk
text_map        a linear map on the vectors of texts, as functions of arrays
text_map_training  the same as a model that was trained
text_training   the text tower alone, on vectors of pictures
work_folder     where pixels and checkpoint lie until a run is done
model_folder    a model as a folder, in open_clip's own layout
model_card      what was trained and whether it helped, in words
gallery_training   what is done with the pairs of a gallery: divided, trained, chosen, compared, written
finetune_run    `finetune`: what can be said before torch is loaded, and then one of the ways

Importing this package loads no torch.
"""
