"""The fast form of the convolutional network: the same functions, faster; skip it on first reading."""
