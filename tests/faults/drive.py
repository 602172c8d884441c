"""Run a build with scripted engines; the program takes the arguments of `mmpr build`."""

import os
import sys

from mmpr import termination

termination.quit_at_once()  # `mmpr` does this too before all other imports

import asyncio  # noqa: E402
import platform  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

from mmpr import cli  # noqa: E402
from mmpr.builder import engine_choice  # noqa: E402
from mmpr.engines.scripted import ScriptedEngine  # noqa: E402
from mmpr.types import Stage  # noqa: E402


def script(prompt, index):
    """Return a response that depends only on (question, stage, index): right, wrong, or without an answer."""
    if prompt.stage is Stage.SAMPLE:
        answer = ("2", "3", "2", None)[(index + len(prompt.question_id)) % 4]
        return f"Look {index} at {prompt.question_id}." + (f"\n\nFinal Answer: {answer}" if answer else "")
    if prompt.prefix is None:
        return f"In {prompt.question_id} there is a red circle and a blue square on a white wall."
    return " there is a green cat beside a tree."


class Announcing(ScriptedEngine):
    """A scripted engine that raises an audit event for each request, so that a plan can name the moment."""

    async def generate(self, prompt, sampling):
        sys.audit("engine", prompt.question_id, prompt.stage.value)
        return await super().generate(prompt, sampling)


async def start(pace_s, gate):
    """Start an engine; with a gate, wait until engines of two hosts are up: else one host would do all the work."""
    if gate is not None:
        (gate / platform.node()).touch()
        for _ in range(600):  # then go on: if both engines are on one host, the test must find that out
            if len(list(gate.iterdir())) > 1:
                break
            await asyncio.sleep(0.2)
    return Announcing(script, seconds_per_token=pace_s)


if __name__ == "__main__":
    pace_s = float(os.environ.get("MMPR_TEST_PACE_S", "1e-4"))
    gate = Path(os.environ["MMPR_TEST_GATE"]) if "MMPR_TEST_GATE" in os.environ else None
    engine_choice.engine_maker = lambda _: partial(start, pace_s, gate)  # the only thing that this program replaces
    sys.argv.insert(1, "build")
    cli.main()
