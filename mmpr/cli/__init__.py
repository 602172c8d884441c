"""The command line. `main` is the console script; the verbs are in `verbs`, what they print in `messages`."""

from mmpr import termination

__all__ = ["main"]


def main() -> None:
    """The console script. SIGTERM ends it with 75 in one line, also amid the imports below."""
    termination.quit_at_once()
    from mmpr.cli.verbs import app

    app()
