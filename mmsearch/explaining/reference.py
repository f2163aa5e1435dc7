"""Phrases of everyday things, whose scores with a picture say what is usual there: a phrase that fits it no better than
these do on average is not in it, however one of its places stands out."""

__all__ = ["EVERYDAY"]

EVERYDAY = (
    "a dog", "a child", "an old man", "a woman in a coat", "a crowd of people", "a hand", "a bird", "a horse",
    "a tree", "flowers", "a field of grass", "a mountain", "the sea", "a river", "clouds", "snow",
    "a house", "a street", "a bridge", "a window", "a car", "a bicycle", "a train", "a boat",
    "a table with food", "a cup", "a chair", "a lamp", "a book", "a sign with words", "a phone", "a ball",
)  # fmt: skip
