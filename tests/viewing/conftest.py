"""FiftyOne with a database of its own, which ends with the tests."""

import os

import pytest

from fieldforge.runs.entry import CONFIGS

PLUGINS = CONFIGS.parent / "plugins" / "fiftyone"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """FiftyOne; it reads its settings once, when it is imported."""
    os.environ["FIFTYONE_DATABASE_DIR"] = str(tmp_path_factory.mktemp("database"))
    os.environ["FIFTYONE_PLUGINS_DIR"] = str(PLUGINS)
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"  # it warns of its own database's version
    return pytest.importorskip("fiftyone", reason="needs pip install '.[fiftyone]', which make leaves out for its size")
