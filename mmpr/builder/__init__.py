"""Build a dataset from a source: ask each question, run each chunk, run all chunks, finish."""
