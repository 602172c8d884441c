"""Engines: the protocol and its double, vLLM in this process, and servers over HTTP. Imports nothing heavy."""
