"""`finetune`: a model is taught with pairs of pictures and texts, and the gallery is kept where that can be.

records         pairs, splits, what training gives, the report
pairs           pairs from a gallery's captions
splitting       training, validation and held-out pairs, by picture
guards          before against after, with intervals; weights between both; what went wrong, by name
"""
