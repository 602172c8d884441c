"""Scripted engines that find a text likelier when they see the image."""

import sys
from dataclasses import replace

from ray import cloudpickle

from mmpr.engines.scripted import ScriptedEngine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import a test module


class Reader(ScriptedEngine):
    """Finds `red` likely when it sees the image, and every other text as likely with as without."""

    async def generate(self, prompt, sampling):
        given = await super().generate(prompt, sampling)
        return [replace(r, logprobs=(_likely(prompt, r.text),) * len(r.logprobs)) for r in given]

    async def score(self, prompt, token_ids):
        await super().score(prompt, token_ids)
        return _likely(prompt, self.decode(token_ids))


class Forgetful(Reader):
    """Returns no log-probabilities with its responses, as a server may."""

    async def generate(self, prompt, sampling):
        return [replace(response, logprobs=()) for response in await super().generate(prompt, sampling)]


def _likely(prompt, text):
    return -0.5 if prompt.images and "red" in text else -2.0
