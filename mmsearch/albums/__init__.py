"""Albums: the pictures of a gallery in groups, each with a name."""
