"""One module per concern; each has a `write(directory)` that fills its folder."""
