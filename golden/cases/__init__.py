"""One module per concern. Its function `write(directory)` writes the arrays and the index of the concern."""
