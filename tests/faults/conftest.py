"""One Ray, one source and one undisturbed run for every test of faults."""

import pytest

from tests.faults.arms import bed


@pytest.fixture(scope="session")
def ours(tmp_path_factory):
    with bed(tmp_path_factory.mktemp("faults"), workers=2) as started:
        yield started
