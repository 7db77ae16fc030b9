import gc
import shutil
import signal
from copy import deepcopy
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

CONFIGS = str(Path(__file__).resolve().parents[1] / "configs")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As `Place.start` gives the processes it starts: sums over several threads differ in their last bits.

    And small tensors gain nothing from more, while threads that wait for each other crawl beside other work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _a_closed_terminal_is_heard():
    """Under nohup all processes of the tests would begin with this signal ignored, and some send it to themselves."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="session")
def _imports_are_no_garbage():
    """The collector looks through all objects again and again, and those of the imports stay anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _configurations_are_parsed_once():
    """Hydra parses its files again for each configuration that it composes: a third of the time of that."""
    load = OmegaConf.load
    parsed = cache(load)

    def kept(file):
        name = str(getattr(file, "name", file))
        return deepcopy(parsed(name)) if name.startswith(CONFIGS) else load(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(kept))
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_fork_server():
    """A process has one, with the modules of whoever is first: the workers of all others would import theirs."""
    forkserver.set_forkserver_preload(["fieldforge.preparation.server", "fieldforge.runs.train"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseContext, "set_forkserver_preload", lambda self, modules: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_rehearsal(request: pytest.FixtureRequest):
    """Trainings start at once: their rehearsal takes as long as two steps. Modules marked `rehearsal` have it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("rehearsal") is None:
            patch.setattr("fieldforge.runs.train.rehearse", lambda stages: None)
        yield


@pytest.fixture(scope="module")
def browser():
    """Chromium of the system, which Playwright drives; its own browsers are not downloaded.

    Of one module: while it is there, nothing else of this thread can start an event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install '.[browser]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        # WebGL by software: --use-angle. Chromium as root needs --no-sandbox.
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--use-angle=swiftshader"])
        yield chromium
        chromium.close()
