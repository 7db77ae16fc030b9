"""A text model trained on with 30 assets of one class: whole, and by a low-rank adapter; alone, and beside others.

    python benchmarks/fine_tuning.py outputs/furniture_latent/<id> --data shards/furniture [--kind vehicle]

Beside others: one sample in four is of the class, the rest of 90 assets of other classes that the model was trained on.
Agreement with prompts of that class's names and of other classes' names, before and after. All models are judged beside
all training assets, from the same seeds. Needs the model's training data.
"""

import argparse
import json
from collections import Counter
from functools import partial
from pathlib import Path

from short_trainings import ONE_THREAD, ROOT, newest_model, run

from fieldforge.data.manifest import write_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shards import open_shards
from fieldforge.data.writer import ShardWriter

ASSETS, BESIDE, NAMES = 30, 90, 8
ADAPTER = ["adapter=lora", "training.diffusion.optimizer.lr=1e-3"]
WHOLE = ["training.diffusion.optimizer.lr=2e-4"]


def write_classes(data: str, kind: str, folder: Path) -> tuple[list[str], list[str]]:
    """Write the first assets of a class as shards `own`, and some of the other classes as shards `others`.

    Returns the most frequent names of that class and of the others.
    """
    split = open_shards(data, "train")
    reader, own, others = ShardReader(split), Counter[str](), Counter[str]()
    every = int(split.samples_per_shard.sum()) // BESIDE
    settings = {"made_by": Path(__file__).name, "kind": kind}
    write_to = partial(ShardWriter, schema=SAMPLE, settings=settings, samples_per_shard=ASSETS, split="train")
    with write_to(folder / "own") as own_writer, write_to(folder / "others") as other_writer:
        for shard, count in enumerate(split.samples_per_shard.tolist()):
            for number in range(count):
                sample = reader.read(shard, number)
                meta = sample["meta.json"]
                names, writer = (own, own_writer) if meta["class"] == kind else (others, other_writer)
                names[meta["name"]] += 1
                if own.total() <= ASSETS if names is own else others.total() % every == 0:
                    writer.write(sample.key, {name: sample[name] for name in sample})
    for part, writer in (("own", own_writer), ("others", other_writer)):
        write_manifest(folder / part, SAMPLE, settings, writer.entries, {})
    return [name for name, _ in own.most_common(NAMES)], [name for name, _ in others.most_common(NAMES)]


def agreements(model: Path, data: str, prompts: Path) -> str:
    """Share of samples whose nearest asset has the prompted name and class."""
    words = [f"prompts.file={prompts}", "prompts.guidance=[3.0]", "prompts.seeds=[0,1,2,3,4,5]"]
    run("evaluate.py", f"run={model}", f"data_root={data}", *words, environment=ONE_THREAD)
    report = json.loads((model / "evaluation" / "prompts.json").read_text())
    return f"{report['name']['share']:.0%} / {report['class']['share']:.0%}"


def train_on(base: Path, name: str, roots: list[Path], steps: int, words: list[str]) -> Path:
    """The run of `steps` steps from a model on shards."""
    common = [f"name={name}", f"data.root=[{','.join(map(str, roots))}]", f"init_from={base}"]
    budget = f"{{max_steps:{steps},max_minutes:null,min_steps:0,warmup_steps:20}}"
    training = ["training.diffusion.batch_size=32", "callbacks.pictures=null", f"training.diffusion.budget={budget}"]
    stages = "stages=[autoencoder,latents,diffusion]"
    run("train.py", "experiment=furniture_latent", *common, stages, *training, *words, environment=ONE_THREAD)
    return newest_model(name).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a finished run of furniture_latent")
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--kind", default="vehicle", help="the class")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    place = ROOT / "outputs" / "fine_tuning"
    shards = place / "shards"
    names = dict(zip(("own", "others"), write_classes(arguments.data, arguments.kind, shards), strict=True))
    files = {key: place / f"{key}.txt" for key in names}
    for key, file in files.items():
        file.write_text("\n".join(f"a {name.lower()}" for name in names[key]))
    models = {"before": arguments.base}
    for title, words in (("LoRA, rank 8", ADAPTER), ("whole", WHOLE)):
        for beside, roots in (("", [shards / "own"]), (", beside others", [shards / "own", shards / "others"])):
            name = f"fine_tuning_{words is ADAPTER}_{len(roots)}"
            models[title + beside] = train_on(arguments.base, name, roots, arguments.steps, words)
    heads = [f"{arguments.steps} steps on {ASSETS} assets", f"{arguments.kind}: name / class", "others: name / class"]
    print(f"| {' | '.join(heads)} |\n|---|---|---|")
    for title, model in models.items():
        shares = [agreements(model, arguments.data, file) for file in files.values()]
        print(f"| {title} | {shares[0]} | {shares[1]} |", flush=True)


if __name__ == "__main__":
    main()
