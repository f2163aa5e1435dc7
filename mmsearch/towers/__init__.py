"""A text tower without torch: open_clip's text transformers in numpy, over memory-mapped weights.

Importing torch and open_clip and building a model takes seconds, encoding a query a few hundredths of one. So a text
tower is laid out once, in one file of the user's cache, when its model is first loaded (`mmsearch.encoders`), and
queries use that file:

    tokens      texts -> token ids, as open_clip makes them
    tower       token ids -> vectors
    files       the file in the cache: written whole, checked before it is trusted, dropped when long unused

Neither torch nor open_clip is imported here or in anything that this imports.
"""
