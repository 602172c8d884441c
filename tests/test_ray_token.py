"""Join clusters with and without a token, from a machine that has one: real clusters, real actors."""

import shutil
import subprocess
import sys
import tempfile

import pytest
from ray_cluster import TOKEN, environment, free_port, start_node, wait_for

from mmpr.pool.cluster import _listens

# The first cluster of a process must not decide how it speaks with the second.
JOIN = """
import sys, ray
from mmpr import pool
class Actor:
    def answer(self): return "answered"
for address in sys.argv[1:]:
    with pool.connected(None if address == "own" else address):
        print(ray.get(ray.remote(Actor).remote().answer.remote(), timeout=60))
"""


def joined(*addresses, **environs):
    command = [sys.executable, "-c", JOIN, *addresses]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**environs), check=False)


@pytest.fixture(scope="module", params=["token", "disabled"])
def head(request):
    """The address of a head node, and whether it requires a token."""
    folder, port = tempfile.mkdtemp(prefix="mmpr-test-", dir="/tmp"), free_port()
    words = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}", "--num-cpus=2"]
    process = start_node(*words, RAY_AUTH_MODE=request.param)
    try:
        wait_for(lambda: _listens(f"127.0.0.1:{port}"), process)
        yield f"127.0.0.1:{port}", request.param == "token"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_is_joined_with_a_token_on_this_machine_whether_it_requires_one_or_not(head):
    address, _ = head
    result = joined("own", address)
    assert (result.returncode, result.stdout) == (0, "answered\n" * 2), result.stderr


def test_the_environment_s_mode_does_not_hinder(head):
    address, requires = head
    result = joined(address, RAY_AUTH_MODE="disabled" if requires else "token")
    assert (result.returncode, result.stdout) == (0, "answered\n"), result.stderr


@pytest.mark.parametrize(("token", "given"), [("", "none"), (TOKEN[::-1], "another one")], ids=["none", "another"])
def test_a_token_that_is_missing_or_wrong_matters_only_where_one_is_required(head, tmp_path, token, given):
    address, requires = head
    result = joined(address, RAY_AUTH_TOKEN=token, HOME=str(tmp_path))
    if not requires:
        assert (result.returncode, result.stdout) == (0, "answered\n"), result.stderr
    else:
        assert result.returncode == 1
        assert f"the Ray cluster at '{address}' asks for a token, and {given} was given: " in result.stderr
