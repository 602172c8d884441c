"""The pocket model: its training examples, its training and its figures."""
