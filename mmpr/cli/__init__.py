"""The command line. `main` is the console script; the verbs are in `verbs`, what they print in `messages`."""

from mmpr import termination

__all__ = ["main"]


def main() -> None:
    """Run the console script. SIGTERM ends it with exit code 75 and one line, also during the imports below."""
    termination.quit_at_once()
    from mmpr.cli.verbs import app

    app()
