"""train.py with budgets in minutes of processor time: what else a machine does takes nothing from a training.

    OMP_NUM_THREADS=1 python benchmarks/processor_minutes.py experiment=… training.autoencoder.budget.max_minutes=10

Only the process that trains is counted, not the one that reads its data.
"""

import runpy
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from fieldforge.training.callbacks import budget

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    budget.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
    sys.argv[0] = str(ROOT / "train.py")
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
