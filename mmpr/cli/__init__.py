"""The command line. `main` is the console script; the verbs are in `verbs`, what they print in `messages`."""

from mmpr.cli.verbs import main

__all__ = ["main"]
