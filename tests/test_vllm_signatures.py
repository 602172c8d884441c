"""What `mmpr/engines/vllm.py` uses of vLLM is there in each version that the extras allow: read, not run.

The table below is the whole contract. It is held against the vLLM that is installed and, in the slow tests, against the
wheels of the versions between the bounds of `mmpr[gpu]`.
"""

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.vllm import _PHASES, engine_arguments

ROOT = Path(__file__).parents[1]
RELEASES = ("0.33.0",)  # beside the one that is installed
EVERY_SETTING = engine_arguments(
    EngineOptions("m", "r", quantization="awq", trust_remote_code=True, tensor_parallel_size=2, max_tiles=6, lora="a")
)
# A function of vLLM, and the arguments that it is called with, without `self`.
CALLS = {
    "v1/engine/async_llm.py AsyncLLM.from_engine_args": ("engine_args", "usage_context", "stat_loggers"),
    "v1/engine/async_llm.py AsyncLLM.generate": ("prompt", "sampling_params", "request_id", "priority"),
    "v1/engine/async_llm.py AsyncLLM.shutdown": (),
    "v1/engine/async_llm.py AsyncLLM.get_tokenizer": (),
    "renderers/base.py BaseRenderer.render_cmpl_async": ("prompts", "skip_mm_cache"),
    "engine/arg_utils.py EngineArgs.create_model_config": (),
    "config/model.py ModelConfig.try_get_generation_config": (),
    "renderers/hf.py resolve_chat_template": ("tokenizer", "chat_template", "tools", "model_config"),
    "tokenizers/registry.py cached_tokenizer_from_config": ("model_config",),
    "model_executor/model_loader/utils.py get_model_cls": ("model_config",),
}
# Fields, attributes and methods of a class.
NAMES = {
    "v1/engine/async_llm.py AsyncLLM": {"errored", "output_handler", "renderer", "model_config"},
    "engine/arg_utils.py EngineArgs": {*EVERY_SETTING, "mm_processor_kwargs", "reasoning_config"},
    "config/model.py ModelConfig": {"architectures", "hf_text_config"},
    "config/reasoning.py ReasoningConfig": {"reasoning_start_str", "reasoning_end_str"},
    "engine/arg_utils.py AsyncEngineArgs": set(),
    "sampling_params.py SamplingParams": {
        *("n", "temperature", "top_k", "top_p", "max_tokens", "seed", "stop_token_ids", "detokenize", "output_kind"),
        *("prompt_logprobs", "thinking_token_budget", "allowed_token_ids", "logprobs", "logprob_token_ids"),
    },
    "sampling_params.py RequestOutputKind": {"FINAL_ONLY"},
    "outputs.py RequestOutput": {"finished", "outputs", "prompt_token_ids", "prompt_logprobs"},
    "outputs.py CompletionOutput": {"index", "token_ids", "finish_reason", "logprobs"},
    "usage/usage_lib.py UsageContext": {"LLM_CLASS"},
    "v1/engine/exceptions.py EngineDeadError": set(),
    "v1/metrics/stats.py SchedulerStats": {"num_running_reqs", "num_waiting_reqs"},
    "v1/metrics/stats.py IterationStats": {"num_generation_tokens", "prompt_token_stats"},
    "v1/metrics/stats.py PromptTokenStats": {"total", "cached_tokens"},
    "v1/metrics/ray_wrappers.py RayPrometheusStatLogger": set(),
}
LOGGER = "v1/metrics/loggers.py StatLoggerBase"  # ours is made of it: what it must have, and what it is called with


@dataclass
class Sources:
    """vLLM's own files."""

    root: Path

    def tree(self, file):
        return ast.parse((self.root / file).read_text(encoding="utf-8"))

    def defined(self, place):
        """A class or a function by `file Class.method`; of several of a name the last, behind overloads."""
        file, names = place.split()
        within = self.tree(file)
        for name in names.split("."):
            found = [node for node in ast.walk(within) if getattr(node, "name", None) == name]
            assert found, f"{place} is gone"
            within = found[-1]
        return within

    def names(self, place):
        found = set()
        for node in ast.walk(self.defined(place)):
            if isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    found.add(getattr(target, "id", None) or getattr(target, "attr", None))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {node.name, *(argument.arg for argument in every_argument(node))}
        return found


def every_argument(function):
    return [*function.args.args, *function.args.kwonlyargs]


def required(function):
    positional, keywords = function.args.args, function.args.kwonlyargs
    bare = positional[: len(positional) - len(function.args.defaults)]
    bare += [one for one, default in zip(keywords, function.args.kw_defaults, strict=True) if default is None]
    return {one.arg for one in bare} - {"self", "cls"}


def check(sources):
    for place, given in CALLS.items():
        function = sources.defined(place)
        assert set(given) <= {one.arg for one in every_argument(function)}, place
        assert required(function) <= set(given), place
    for place, wanted in NAMES.items():
        assert wanted <= sources.names(place), (place, wanted - sources.names(place))
    check_logger(sources.defined(LOGGER))
    files = [file for part in ("v1", "compilation") for file in (sources.root / part).rglob("*.py")]
    logged = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert [words for words in _PHASES if words not in logged] == []
    assert "vllm.general_plugins" in (sources.root / "plugins" / "__init__.py").read_text(encoding="utf-8")


def check_logger(logger):
    methods = {node.name: node for node in logger.body if isinstance(node, ast.FunctionDef)}
    abstract = {name for name, node in methods.items() if "abstractmethod" in map(ast.unparse, node.decorator_list)}
    assert abstract == {"__init__", "record", "log_engine_initialized"}
    assert [one.arg for one in methods["__init__"].args.args][1:] == ["vllm_config", "engine_index"]
    assert [one.arg for one in methods["record"].args.args][1:3] == ["scheduler_stats", "iteration_stats"]


def test_the_vllm_that_is_installed_has_what_is_used_of_it():
    spec = importlib.util.find_spec("vllm")
    check(Sources(Path(spec.submodule_search_locations[0])))


def test_the_bounds_are_those_that_are_tested():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bounds = SpecifierSet(next(line for line in extras["gpu"] if line.startswith("vllm")).removeprefix("vllm"))
    minors = {f"0.{minor}.0" for minor in range(100) if f"0.{minor}.0" in bounds}
    cpu = next(line for line in extras["cpu"] if line.startswith("vllm")).partition("==")[2]
    assert minors == {cpu, *RELEASES}


@pytest.mark.slow  # downloads 340 MB
@pytest.mark.parametrize("version", RELEASES)
def test_other_versions_have_it_too(version, tmp_path):
    wanted = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path, f"vllm=={version}"]
    subprocess.run(wanted, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path, [name for name in files.namelist() if name.endswith(".py")])
    check(Sources(tmp_path / "vllm"))
