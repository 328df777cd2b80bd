"""What runs cost and how fast they are: predicted, read off programs, measured."""
