"""`pipelines/cluster/`: what a scheduler is handed. Manifests against published schemas, scripts by running them."""

import copy
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.scripts.scripts import start as ray_start
from typer.testing import CliRunner

from mmpr.cli import verbs as cli
from mmpr.settings.config import BuildConfig, settings_by_name

HERE = Path(__file__).parent
CLUSTER = HERE.parent / "pipelines" / "cluster"
SCHEMA = json.loads((HERE / "kuberay_schema.json").read_text())
KUBERNETES = "1.33"
MANIFESTS = sorted(CLUSTER.glob("*.yaml"))
SCRIPTS = sorted(CLUSTER.glob("*.sh"))


def manifest(name):
    return yaml.safe_load((CLUSTER / name).read_text())


def job_spec(found):
    return found["spec"] if found["kind"] == "RayJob" else found["spec"]["jobTemplate"]


def pods(found):
    cluster = job_spec(found)["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_has_the_operators_fields_and_pods_that_kubernetes_takes(path):
    found = yaml.safe_load(path.read_text())
    jsonschema.validate(found, SCHEMA)
    for pod in pods(found):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found["spec"].update(shutdownAfterJobFinish=True),
        lambda found: found["spec"]["rayClusterSpec"]["headGroupSpec"].update(rayStartParams={"num-cpus": 0}),
        lambda found: found["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("groupName"),
        lambda found: found["spec"]["rayClusterSpec"]["authOptions"].update(mode="none"),
    ],
)
def test_the_schema_notices_a_wrong_field(spoil):
    found = copy.deepcopy(manifest("rayjob.yaml"))
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, SCHEMA)


def test_a_pod_with_a_wrong_field_is_noticed():
    pod = next(pods(manifest("rayjob.yaml")))
    pod["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_nightly_job_is_the_job():
    assert manifest("raycronjob.yaml")["spec"]["jobTemplate"] == manifest("rayjob.yaml")["spec"]


def test_the_command_in_the_manifests_is_one_that_mmpr_takes():
    words = manifest("rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["mmpr", "build"]
    printed = CliRunner().invoke(cli.app, [*words[1:], "--help"])
    assert printed.exit_code == 0
    settings = {word.partition("=")[0] for word in words if "=" in word}
    assert settings <= settings_by_name().keys()


def test_a_pod_has_time_for_the_grace_of_a_build_and_for_what_follows():
    grace_s = BuildConfig().cluster.grace_s
    for pod in pods(manifest("rayjob.yaml")):
        assert pod["spec"]["terminationGracePeriodSeconds"] > grace_s
        wait = [e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "RAY_JOB_STOP_WAIT_TIME_S"]
        assert int(wait[0]) > grace_s
    (wait_s,) = re.findall(r'"RAY_JOB_STOP_WAIT_TIME_S": "(\d+)"', (CLUSTER / "submit.sh").read_text())
    assert int(wait_s) > grace_s


@pytest.mark.parametrize(
    ("place", "given", "mode"),
    [
        (None, {}, ""),
        (".ray/auth_token", {}, "token"),
        (None, {"RAY_AUTH_TOKEN": "t"}, "token"),
        ("mine", {"RAY_AUTH_TOKEN_PATH": "mine"}, "token"),
        (".ray/auth_token", {"RAY_AUTH_MODE": "k8s"}, "k8s"),
    ],
)
def test_a_job_is_submitted_with_the_token_that_is_at_hand(place, given, mode, tmp_path):
    (tmp_path / "ray").write_text(
        '#!/bin/sh\necho "mode=$RAY_AUTH_MODE"\n'
    )  # Ray's command, which sends it in one mode only
    (tmp_path / "ray").chmod(0o755)
    if place:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("a-token")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), **given}
    done = subprocess.run(
        ["bash", CLUSTER / "submit.sh", "--job", "j.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"mode={mode}\n", done.stderr


def test_engines_get_gpus_and_the_head_gets_no_work():
    cluster = manifest("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    limits = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["nvidia.com/gpu"]) > 0


@pytest.mark.parametrize("path", [*MANIFESTS, *SCRIPTS, CLUSTER / "Containerfile"], ids=lambda path: path.name)
def test_a_file_opens_with_how_it_is_used_and_holds_no_secret(path):
    text = path.read_text()
    head = text.split("\n\n")[0] if path.suffix == ".sh" else text[: text.index("\n", text.index("\n#"))]
    assert str(path.relative_to(CLUSTER.parents[1])) in text[:900] and "#" in head
    assert not re.search(r"hf_[A-Za-z0-9]{8}|(?i:password)", text)
    assert len(text.splitlines()) <= 70


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_and_bash_can_read_it(path):
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


def test_no_dashboard_is_opened_to_the_network():
    """Neither by the files nor by the `ray start` that they and the page leave it to."""
    for path in (*MANIFESTS, *SCRIPTS):
        assert "0.0.0.0" not in path.read_text()
    (option,) = [option for option in ray_start.params if option.name == "dashboard_host"]
    assert option.default in {"localhost", "127.0.0.1"}
