"""Where in a picture what a text names is seen: `explain`."""
