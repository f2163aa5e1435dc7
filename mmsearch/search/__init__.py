"""`query`: the best items of a gallery for what is asked, exact or through an index, and always complete."""
