import pytest

from exporting import runs


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A finished run; tests must not change it."""
    return runs.make(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture
def run(tmp_path):
    """A finished run to be forged."""
    return runs.make(tmp_path / "run")
