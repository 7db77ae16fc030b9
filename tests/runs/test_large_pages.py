"""Large tensors lie in large pages."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource
from fieldforge.runs import large_pages
large_pages.install()
import torch
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not SWITCH.is_file() or "[never]" in SWITCH.read_text(), reason="this kernel gives no large pages")
def test_a_large_tensor_touches_few_pages():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**26 / 4096 / 2  # half of the small pages that it would take, or fewer
