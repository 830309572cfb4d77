"""What a model is worth: predictions row by row, and what they add up to."""
