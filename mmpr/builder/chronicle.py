"""Log the events of a run in its folder: engines that died, unfit nodes, and how each start ended."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from mmpr.errors import MmprError, RunFolderError, RunStopped
from mmpr.log import stamp
from mmpr.pool import Died, Event, Failed, NodeLost, UnfitNode
from mmpr.run import RunFolder

BUILT = "built"  # every chunk is committed; logged before the dataset is written, so that the manifest covers the line


class Chronicle:
    """Writes `events.jsonl`. Write errors are ignored: other code reports a folder that cannot be written."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def see(self, event: Event) -> None:
        """Log the event if it is a fault."""
        if isinstance(event, Died):
            chunks = [lease.chunk for lease in event.leases]
            attempts = [lease.attempt for lease in event.leases]
            self.add("died", event.words, host=event.host, engine=event.engine, chunks=chunks, attempts=attempts)
        elif isinstance(event, Failed):
            one = event.lease
            self.add("failed_chunk", event.words, host=event.host, chunks=[one.chunk], attempts=[one.attempt])
        elif isinstance(event, NodeLost):
            heard = f"last heard of at {stamp(event.heard_at)}{event.log}"
            self.add("node_lost", heard, host=event.host, engines=list(event.engines), chunks=list(event.chunks))
        elif isinstance(event, UnfitNode):
            self.add("unfit", event.words, host=event.node)

    def add(self, event: str, words: str, **more: object) -> None:
        """Append one line, if the folder holds a run."""
        line: Mapping[str, object] = {"at": stamp(), "host": platform.node(), "event": event, "words": words, **more}
        with suppress(RunFolderError):
            if self._folder.has_run():
                self._folder.add_event(line)


@contextmanager
def chronicled(folder: RunFolder) -> Iterator[Chronicle]:
    """Log the run's events inside the block, and also the exception that ends it."""
    chronicle = Chronicle(folder)
    try:
        yield chronicle
    except RunStopped as end:
        chronicle.add("stopped", str(end))
        raise
    except KeyboardInterrupt:
        chronicle.add("interrupted", "")
        raise
    except MmprError as error:
        chronicle.add("failed", " ".join(str(error).split()))
        raise
