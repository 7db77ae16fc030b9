import shutil

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """As `Place.start` gives the processes it starts: sums over several threads differ in their last bits.

    And small tensors gain nothing from more, while threads that wait for each other crawl beside other work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
