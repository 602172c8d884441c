"""A build with scripted engines as a process of its own; takes what `mmpr build` takes."""

import os
import sys

from mmpr import termination

termination.quit_at_once()  # as `mmpr` does before all other imports

import asyncio  # noqa: E402
import platform  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

from mmpr import cli  # noqa: E402
from mmpr.builder import engine_choice  # noqa: E402
from mmpr.engines.scripted import ScriptedEngine  # noqa: E402
from mmpr.types import Stage  # noqa: E402


def script(prompt, index):
    """A function of only (question, stage, index), with right, wrong and unfinished answers."""
    if prompt.stage is Stage.SAMPLE:
        answer = ("2", "3", "2", None)[(index + len(prompt.question_id)) % 4]
        return f"Look {index} at {prompt.question_id}." + (f"\n\nFinal Answer: {answer}" if answer else "")
    if prompt.prefix is None:
        return f"In {prompt.question_id} there is a red circle and a blue square on a white wall."
    return " there is a green cat beside a tree."


class Announcing(ScriptedEngine):
    """Says what it does as an audit event, so that a plan can name the moment."""

    async def generate(self, prompt, sampling):
        sys.audit("engine", prompt.question_id, prompt.stage.value)
        return await super().generate(prompt, sampling)


async def start(pace_s, gate):
    """One engine; at a gate it waits until an engine of each host is up, for one host alone would do all the work."""
    if gate is not None:
        (gate / platform.node()).touch()
        for _ in range(600):  # both on one host is what a test is there to find
            if len(list(gate.iterdir())) > 1:
                break
            await asyncio.sleep(0.2)
    return Announcing(script, seconds_per_token=pace_s)


if __name__ == "__main__":
    pace_s = float(os.environ.get("MMPR_TEST_PACE_S", "1e-4"))
    gate = Path(os.environ["MMPR_TEST_GATE"]) if "MMPR_TEST_GATE" in os.environ else None
    engine_choice.engine_maker = lambda _: partial(start, pace_s, gate)  # the one seam
    sys.argv.insert(1, "build")
    cli.main()
