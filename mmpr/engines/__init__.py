"""Engines: the protocol and its test double, vLLM in this process, and servers over HTTP. Imports nothing heavy."""
