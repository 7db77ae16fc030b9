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
