"""A package of a user's own: a task whose rows have a weight, and a training method."""
