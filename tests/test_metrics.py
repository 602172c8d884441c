"""Metrics as Prometheus gets them, over HTTP from the nodes' ports, and the dashboard that shows them."""

import functools
import importlib.util
import json
import re
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from conftest import script
from ray import cloudpickle
from ray.cluster_utils import Cluster

from mmpr import pool
from mmpr.builder.build_flow import build
from mmpr.builder.metering import METRICS
from mmpr.engines.scripted import ScriptedEngine
from mmpr.settings.config import BuildConfig

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
DASHBOARD = Path(__file__).parents[1] / "pipelines" / "cluster" / "grafana.json"
_NAME = re.compile(r"\bray_[a-z_]+\b")
# what the Prometheus library adds to a name, by kind
_SAMPLE = re.compile(r"^(ray_\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_DEADLY = "q7"


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def shown(prefix):
    """The metrics with a prefix that the dashboard's expressions name."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    return {name for text in expressions for name in _NAME.findall(text) if name.startswith(prefix)}


async def engine(deadly):
    """Slow enough to be seen at work; ends on one question."""
    return ScriptedEngine(script, seconds_per_token=0.005, kill_on=frozenset({deadly}))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """The samples of a cluster's metrics ports at the end of a build on which an engine died, and its report."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("metrics")
    Image.new("RGB", (40, 30)).save(folder / "0.png")
    rows = [{"id": f"q{i}", "image": "0.png", "question": "How many?", "answer": 2} for i in range(24)]
    (folder / "vqa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "_system_config": {"metrics_report_interval_ms": 500}},
    )
    try:
        with pool.connected(cluster.address):
            # Two engines: one takes the deadly chunk while the other's place is empty for a while after a death.
            config = BuildConfig(
                source=str(folder / "vqa.jsonl"), model="pocket", n=4, chunk_questions=4, max_tokens=256, engines=2
            )
            run = build(config, str(folder / "run"), functools.partial(engine, _DEADLY))
            ports = [node["MetricsExportPort"] for node in ray.nodes()]
            yield run, str(folder / "run"), scrape(ports, until="ray_mmpr_questions_total")
    finally:
        cluster.shutdown()


def scrape(ports, until):
    """Samples by name, as (labels, value)s; processes report twice a second, so a moment passes before all is there."""
    for _ in range(60):
        text = "".join(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode() for port in ports)
        found = {}
        for name, labels, value in _SAMPLE.findall(text):
            found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
        if until in found and _settled(found):
            return found
        time.sleep(0.5)
    raise AssertionError(f"{until} never came; there are {sorted(found)}")


def _settled(found):
    """The gauges fall to nothing when the build is over: what was counted before has been reported too."""
    return all(value == 0 for _, value in found.get("ray_mmpr_engines", [({}, 1)]))


def total(samples, **labels):
    return sum(value for found, value in samples if labels.items() <= found.items())


def test_every_metric_of_a_build_is_exported_under_the_name_that_is_told(scraped):
    _, run, found = scraped
    assert {metric.exported for metric in METRICS} <= found.keys()
    assert all(labels["run"] == run for metric in METRICS for labels, _ in found[metric.exported])


def test_every_panel_names_metrics_that_exist(scraped):
    _, _, found = scraped
    ours = shown("ray_mmpr_")
    assert ours == {metric.exported for metric in METRICS} and ours <= found.keys()
    of_ray = shown("ray_") - ours - shown("ray_vllm_")
    assert of_ray <= found.keys()


def test_the_sums_are_those_of_the_report(scraped):
    outcome, run, found = scraped
    report = outcome.report
    events = [json.loads(line)["event"] for line in (Path(run) / "events.jsonl").read_text().splitlines()]
    assert total(found["ray_mmpr_questions_total"]) == report.questions == 24
    assert total(found["ray_mmpr_questions_total"], outcome="skipped") == report.skipped == 1
    for kind, n in report.pairs_by_kind.items():
        assert total(found["ray_mmpr_pairs_total"], kind=kind) == n
    assert total(found["ray_mmpr_skips_total"], reason="quarantined") == 1
    assert total(found["ray_mmpr_engine_deaths_total"]) == events.count("died") <= 5
    assert total(found["ray_mmpr_questions_left"]) == 0
    assert total(found["ray_mmpr_gpu_seconds_total"]) > 0


def test_vllms_metrics_in_the_dashboard_are_those_of_the_vllm_that_is_installed():
    """By its source: the job of `tests/test_cluster_jobs.py` scrapes them from real engines."""
    source = Path(importlib.util.find_spec("vllm").origin).parent / "v1" / "metrics" / "loggers.py"
    named = {f"ray_vllm_{name}" for name in re.findall(r'name="vllm:(\w+)"', source.read_text())}
    bare = {re.sub(r"_(total|bucket)$", "", name) for name in shown("ray_vllm_")}
    assert bare and bare <= named


def test_the_dashboard_is_one_that_grafana_takes():
    dashboard = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "run"}
    corners = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(corners)) == len(corners) and all(panel["title"] for panel in panels())
