"""The flow from a source to a dataset: `answer` one question, work off a chunk, run all chunks, finish."""
