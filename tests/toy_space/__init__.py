"""A third search space, as a user would add one: layers of a small perceptron. Nothing outside this folder knows of it."""
