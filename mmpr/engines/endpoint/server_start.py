"""Start an engine on a server: check that it answers, serves the model and continues a prefix."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from itertools import takewhile

from mmpr.dropout import Cut, cut_draft, cut_text
from mmpr.engines.endpoint.endpoint_engine import EndpointEngine
from mmpr.engines.endpoint.server import Server
from mmpr.engines.endpoint.server_records import Profile, Way
from mmpr.engines.endpoint.tokenizer import Tokenizer
from mmpr.engines.endpoint.wire import Json, image_part, template_fields, text_part
from mmpr.engines.engine_options import EndpointOptions
from mmpr.engines.families import LIMITS, SWITCH, TILE_ARGUMENTS, WIDE, is_open, marks_in, trial_values
from mmpr.engines.protocol import Sampling, report_phase
from mmpr.errors import EngineError, EngineStartError, RequestRefused
from mmpr.image_tags import IMAGE_TAG
from mmpr.thought_marks import ALL_MARKS, HARMONY, KIMI, THINK, ThoughtMarks
from mmpr.types import Continues, DecodedImage, Message, Prompt, Reason, Response, Stage, Thinking

# Even a model of a few megabytes answers these in many words, and in the same words each time at temperature 0.
_QUESTIONS = (
    "Count from one to twenty in words, separated by commas.",
    "Name the twelve months of the year in order, separated by commas.",
    "Describe the image.",
)
_LEAST_ALIKE = 8  # first characters in which a completion must agree with the rest of the answer
_LEAST_SIDE = 4  # tokens on each side of the cut of such an answer
_TURN_END = "<|im_end|>"
_LMDEPLOY_TAG = "<IMAGE_TOKEN>"
# Models whose marks are not `<think>`. A server says only the model's name, and its parser may hide the marks.
_NAMED_MARKS = {"kimi-vl": KIMI, "gpt-oss": HARMONY}


async def start_endpoint(options: EndpointOptions) -> EndpointEngine:
    """Find out with some short requests what the server supports, and return an engine that uses it.

    Raises:
        EngineStartError: one line: no server answers, it does not serve the model, it refuses the key or a plain
            question, or it does not continue a prefix.
    """
    report_phase("asking the server what it can do")
    server = Server(options)
    try:
        return await _find_out(server, options)
    except EngineError as error:
        await server.close()
        raise EngineStartError(str(error)) from None


async def _find_out(server: Server, options: EndpointOptions) -> EndpointEngine:
    served = await server.models()
    # A server that does not list its models may still serve this one.
    if served and options.model not in served:
        names = ", ".join(list(served)[:5])
        raise EngineStartError(f"{server.url} does not serve the model {options.model!r}; it serves {names}")
    tokenizer = Tokenizer(server, options.model)
    lent = tokenizer if await tokenizer.is_there() else None
    profile = await _profile(options, served.get(options.model, ""), lent)
    profile = await _with_thinking(server, options, profile, lent)
    profile = await _with_limits(server, options, profile)
    plain = EndpointEngine(server, options, profile)
    # If the server refuses the key, the model or a setting, the start fails here, and not the first question.
    shortest = Sampling(temperature=0.0, top_k=options.top_k, max_tokens=1)
    await plain.generate(_prompt(_QUESTIONS[0]), replace(shortest, max_thought_tokens=options.max_thought_tokens))
    for thinking in options.thinking:
        await plain.generate(replace(_prompt(_QUESTIONS[0]), thinking=thinking), shortest)
    if options.continues == "none":
        return plain
    why = "it has no tokenizer interface (/tokenize, /detokenize)"
    for way in _ways(options.continues, profile.owner, lent):
        engine = EndpointEngine(server, options, replace(profile, way=way))
        why = await _why_not(engine, options.top_k)
        if not why:
            return engine
    raise EngineStartError(
        f"{server.url} does not continue the beginning of an answer (endpoint_continues={options.continues}): {why}; "
        "only Dropout-NTP needs this: for questions with reference answers, set endpoint_continues=none"
    )


def _ways(continues: str, owner: str, lent: Tokenizer | None) -> list[Way]:
    """Return the ways to try, the best one first."""
    exact = [Way.IDS] if lent and continues != "text" else []
    text = [Way.TURN] if owner == "lmdeploy" else [Way.FLAG, Way.TURN]
    return exact + (text if continues != "exact" else [])


async def _profile(options: EndpointOptions, owner: str, lent: Tokenizer | None) -> Profile:
    turn_end = await lent.encode(_TURN_END) if lent else ()
    stop_ids = turn_end if len(turn_end) == 1 else ()
    tag = options.image_tag if options.image_tag != "parts" else None
    if tag == "auto":
        tag = await _known_tag(lent) if lent else _LMDEPLOY_TAG if owner == "lmdeploy" else None
    return Profile(owner, Way.NONE, tag, stop_ids)


async def _known_tag(lent: Tokenizer) -> str | None:
    """Return `<image>` if the text must have this tag for each image; None if images keep their places without tags.

    vLLM moves all images of an InternVL prompt to its front, away from their labels ("Image-2: "), unless the text has
    the model's own tags.
    """
    image = image_part("image/png", _small_image())
    try:
        apart = await _rendered(lent, [text_part("alpha"), image, text_part("omega")])
        if "alpha\nomega" not in apart:
            return None
        tagged = await _rendered(lent, [text_part(f"alpha {IMAGE_TAG} omega"), image])
    except RequestRefused:  # the model takes no images
        return None
    return None if IMAGE_TAG in tagged else IMAGE_TAG


async def _with_thinking(server: Server, options: EndpointOptions, profile: Profile, lent: Tokenizer | None) -> Profile:
    """Return the profile with what is known about thoughts, which is read from the ends of rendered prompts.

    The switch is looked for without the user's own value of it, with which all prompts would be alike.

    Raises:
        EngineStartError: the server does not support the requested `thinking` or `max_thought_tokens`.
    """
    if options.max_thought_tokens is not None and profile.owner != "vllm":
        raise EngineStartError(f"{server.url}: max_thought_tokens needs vLLM serve, with --reasoning-parser")
    own = options.body.get("chat_template_kwargs") or {}
    unchecked = [
        f"endpoint_body.chat_template_kwargs.{SWITCH} takes precedence over thinking={thinking}"
        for thinking in options.thinking
        if SWITCH in own and own[SWITCH] is not (thinking is Thinking.ON)
    ]
    named = next((marks for name, marks in _NAMED_MARKS.items() if name in options.model.lower()), THINK)
    if lent is None:
        unchecked += [
            f"thinking={thinking} could not be checked: the server does not lend its tokenizer and chat template"
            for thinking in options.thinking
        ]
        return replace(profile, marks=named, unchecked=tuple(unchecked))
    ends = {thinking: await _prompt_end(lent, template_fields(thinking, options.body)) for thinking in Thinking}
    opens = frozenset(thinking for thinking, end in ends.items() if is_open(end, marks_in(end)))
    others = {name: value for name, value in own.items() if name != SWITCH}
    on, off = [
        await _prompt_end(lent, template_fields(thinking, {"chat_template_kwargs": others}))
        for thinking in (Thinking.ON, Thinking.OFF)
    ]
    for thinking in options.thinking if on == off else ():
        if thinking is Thinking.ON and thinking not in opens:
            raise EngineStartError(
                f"{server.url}: thinking=on: the server's chat template has no switch ({SWITCH}); a system message may "
                "do it (system_message=internvl_think for InternVL3.5)"
            )
        if thinking is Thinking.OFF and thinking in opens:
            raise EngineStartError(f"{server.url}: thinking=off: the server's chat template always opens thoughts")
    always = is_open(off, marks_in(off))
    marks = _marks_of(on + off) or named
    return replace(profile, opens=opens, always_opens=always, marks=marks, unchecked=tuple(unchecked))


def _marks_of(rendered: str) -> ThoughtMarks | None:
    """Return the marks that a chat template has written into prompts; None if it writes none."""
    return next((marks for marks in ALL_MARKS if marks.start in rendered), None)


async def _prompt_end(lent: Tokenizer, fields: Json) -> str:
    """Return a short prompt as the server renders it, up to where the answer begins."""
    return await lent.decode(await lent.encode_chat([{"role": "user", "content": "."}], fields))


async def _with_limits(server: Server, options: EndpointOptions, profile: Profile) -> Profile:
    """Return the profile with the argument for `max_tiles`, after a trial of all limits of images that are requested.

    vLLM ignores arguments that the image processor does not know. So each limit is tried with a low and a high value;
    if the processor knows it, a wide image has different numbers of tokens.

    Raises:
        EngineStartError: the server does not let requests limit tiles, or the processor does not know the limit.
    """
    own: Json = options.body.get("mm_processor_kwargs") or {}
    if profile.owner != "vllm":
        return replace(profile, unchecked=profile.unchecked + _untried(options, profile.owner, own))
    if options.max_tiles is None and not own:
        return profile
    body = {name: value for name, value in options.body.items() if name != "mm_processor_kwargs"}
    engine = EndpointEngine(server, replace(options, max_tiles=None, body=body), profile)
    if await _image_refused(engine):
        return profile  # the model takes no images
    if options.max_tiles is not None:
        profile = replace(profile, tile_argument=await _tile_argument(engine, server.url, options.max_tiles))
    for name in sorted(own.keys() & LIMITS):
        few, many = await _counted(engine, name)
        if few == many:
            found = f"the server refuses it: {few}" if isinstance(few, str) else f"an image has {few} tokens with any"
            raise EngineStartError(f"{server.url}: endpoint_body.mm_processor_kwargs.{name} limits nothing: {found}")
    untried = ", ".join(sorted(own.keys() - LIMITS))
    words = f"endpoint_body.mm_processor_kwargs: not checked whether the image processor knows {untried}"
    return replace(profile, unchecked=(*profile.unchecked, words)) if untried else profile


def _untried(options: EndpointOptions, owner: str, own: Json) -> tuple[str, ...]:
    """Return lines about limits of images which a server other than vLLM does not get, or which cannot be tried."""
    lines = []
    if options.max_tiles is not None and owner != "lmdeploy":
        name = owner or "a server without a name"
        lines.append(f"max_tiles={options.max_tiles} is not sent: {name} keeps the tiling that it was started with")
    if own:
        lines.append("endpoint_body.mm_processor_kwargs was not checked: only vLLM serve is known to use it")
    return tuple(lines)


async def _tile_argument(engine: EndpointEngine, url: str, max_tiles: int) -> str:
    """Return the argument by which the server's image processor limits tiles.

    Raises:
        EngineStartError: there is none, or the server refuses all of them.
    """
    counts = {name: await _counted(engine, name) for name in TILE_ARGUMENTS}
    for name, (few, many) in counts.items():
        if few != many and not (isinstance(few, str) and isinstance(many, str)):
            return name
    if all(isinstance(few, str) for few, _ in counts.values()):
        # vLLM serve accepts `mm_processor_kwargs` in requests only with --trust-request-mm-kwargs.
        raise EngineStartError(
            f"{url} does not let requests limit tiles (max_tiles={max_tiles}): start it with "
            "--trust-request-mm-kwargs, or set max_tiles=null to keep the server's own limit; its error: "
            f"{counts[TILE_ARGUMENTS[0]][0]}"
        )
    raise EngineStartError(
        f"{url}: max_tiles={max_tiles}: an image has the same number of tokens with any limit "
        f"({', '.join(TILE_ARGUMENTS)}): set max_tiles=null"
    )


async def _counted(engine: EndpointEngine, limit: str) -> list[int | str]:
    """Return the numbers of tokens of a prompt with a wide image under a low and a high limit.

    In place of a number, it has the server's error if the server refuses the limit.
    """
    image = DecodedImage("", "", _png(*WIDE), *WIDE, "PNG", None)
    prompt = replace(_prompt(f"{IMAGE_TAG}\nWhat is this?"), images=(image,))
    found: list[int | str] = []
    for value in trial_values(limit):
        try:
            found.append(await engine.prompt_tokens(prompt, {limit: value}))
        except RequestRefused as refused:
            found.append(refused.detail)
    return found


async def _image_refused(engine: EndpointEngine) -> str:
    """Return why the server refuses a small image, or ""."""
    image = DecodedImage("", "", _small_image(), 64, 64, "PNG", None)
    prompt = replace(_prompt(f"{IMAGE_TAG}\nWhat is this?"), images=(image,))
    try:
        await engine.generate(prompt, Sampling(temperature=0.0, max_tokens=1))
    except RequestRefused as refused:
        return refused.detail
    return ""


async def _rendered(lent: Tokenizer, parts: list[Json]) -> str:
    return await lent.decode(await lent.encode_chat([{"role": "user", "content": parts}]))


def _small_image() -> bytes:
    return _png(64, 64)


def _png(width: int, height: int) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.new("RGB", (width, height)).save(encoded, "PNG")
    return encoded.getvalue()


def _prompt(question: str) -> Prompt:
    return Prompt("start", Stage.SAMPLE, (Message("user", question),))


async def _why_not(engine: EndpointEngine, top_k: int) -> str:
    """Return why an engine cannot make blind completions, or "".

    The engine is asked for an answer at temperature 0, and then for a completion of its first half. A server that
    continues repeats the second half; a server that starts a new answer repeats the beginning. A server that takes the
    prefix as text does not continue in the middle of a thought, so the engine is asked again without thinking.
    """
    why = await _why_not_with(engine, top_k, None)
    return why if why and await _why_not_with(engine, top_k, Thinking.OFF) else ""


async def _why_not_with(engine: EndpointEngine, top_k: int, thinking: Thinking | None) -> str:
    greedy = Sampling(temperature=0.0, top_k=top_k, max_tokens=64)
    why = "its answers are too short to see how it continues"
    for question in _QUESTIONS:
        prompt = replace(_prompt(question), thinking=thinking)
        try:
            (draft,) = await engine.generate(replace(prompt, stage=Stage.DRAFT), greedy)
            cut = await _cut(engine, draft)
            if not isinstance(cut, Cut):
                continue
            asked = replace(prompt, stage=Stage.COMPLETION, prefix=cut.prefix)
            (completion,) = await engine.generate(asked, greedy)
        except RequestRefused as refused:
            why = refused.detail
            continue
        if _goes_on(completion.text, draft.text, cut.prefix.text):
            return ""
        why = f"asked to continue {cut.prefix.text[-20:]!r}, it returned {completion.text[:20]!r}"
    return why


async def _cut(engine: EndpointEngine, draft: Response) -> Cut | tuple[Reason, str]:
    if engine.continues is Continues.TEXT:
        return cut_text(draft, min_side_tokens=_LEAST_SIDE)
    return await asyncio.to_thread(cut_draft, draft, decode=engine.decode, min_side_tokens=_LEAST_SIDE)


def _goes_on(completion: str, whole: str, prefix: str) -> bool:
    """Whether the completion repeats the rest of the answer `whole` after the prefix, and not its beginning."""
    rest = whole[len(prefix) :]
    return _alike(completion, rest) >= min(_LEAST_ALIKE, len(rest)) and _alike(completion, rest) > _alike(
        completion, whole
    )


def _alike(text: str, other: str) -> int:
    """Return the number of first characters in which two texts agree."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
