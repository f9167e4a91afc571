"""The fast form of the recurrent language model: the same functions, faster; skip it on first reading."""
