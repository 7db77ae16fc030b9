"""Commands import no packages that they have no use for."""

import subprocess
import sys

SCRIPT = """
import sys
import fieldforge.runs.prepare
print("pytorch_lightning" in sys.modules)
from fieldforge.runs import lean_imports
lean_imports.install()
import pytorch_lightning, torchmetrics
print(sorted({"matplotlib", "scipy.signal", "transformers"} & set(sys.modules)))
print(float(torchmetrics.MeanMetric()(2.0)))
import scipy.signal, matplotlib, transformers
"""


def test_assets_come_without_lightning_and_lightning_without_what_only_its_metrics_would_use():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[]", "2.0"]
