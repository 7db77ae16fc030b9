"""Mistakes that are found before the heavy modules are imported."""

import json
import subprocess
import sys

from fieldforge.runs.entry import CONFIGS

MISTAKES = [
    ("train", ["experiment=shape_latent", "seed=-1"], "training", "config key seed = -1"),
    ("train", ["experiment=shape_latent", "name=a//b"], "training", "name=a//b must be the name of a folder"),
    ("commands/sample", ["n=0"], "sampling", "config key n = 0"),
    ("commands/sample", ["class=[[a]]"], "sampling", "config key class = [['a']]"),
    ("commands/sample", ["mesh.faces=1"], "sampling", "config key mesh.faces = 1"),
    ("commands/app", ["port=70000"], "app", "config key port = 70000"),
    ("commands/app", ["seed=-1"], "app", "config key seed = -1"),
    ("commands/evaluate", ["prompts.seeds=[]"], "evaluation", "config key prompts.seeds = []"),
    ("prepare", ["output=x"], "preparation", "there is nothing to prepare"),
    ("prepare", ["source=folder", "output=x", "workers=0"], "preparation", "config key workers = 0"),
]
PROGRAM = """
import json, sys
from pathlib import Path
from hydra import compose, initialize_config_dir
from fieldforge.errors import UserError
from fieldforge.runs import early_checks
configs = Path(sys.argv[1])
for name, overrides, check, _ in json.loads(sys.argv[2]):
    with initialize_config_dir(str((configs / name).parent), version_base="1.3"):
        config = compose(Path(name).name, overrides)
    try:
        getattr(early_checks, f"check_{check}_keys")(config)
    except UserError as mistake:
        print(mistake)
print(sorted({"torch", "numpy", "pytorch_lightning", "transformers"} & set(sys.modules)))
"""


def test_plain_mistakes_need_no_heavy_module(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(CONFIGS), json.dumps(MISTAKES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *sentences, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    for sentence, (*_, beginning) in zip(sentences, MISTAKES, strict=True):
        assert sentence.startswith(beginning)
