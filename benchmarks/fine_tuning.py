"""A text model trained on with 30 assets of one class: whole, and by a low-rank adapter.

    python benchmarks/fine_tuning.py outputs/furniture_latent/<id> --data shards/furniture [--kind vehicle]

Agreement with prompts of that class's names and of other classes' names, before and after. All three models are judged
beside all training assets, from the same seeds. Needs the model's training data.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from short_trainings import ONE_THREAD, ROOT, newest_model, run

from fieldforge.data.manifest import write_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shards import open_shards
from fieldforge.data.writer import ShardWriter

ASSETS, NAMES = 30, 8
ADAPTER = ["adapter=lora", "training.diffusion.optimizer.lr=1e-3"]
WHOLE = ["training.diffusion.optimizer.lr=2e-4"]


def write_class(data: str, kind: str, folder: Path) -> tuple[list[str], list[str]]:
    """Write the first assets of a class as shards; the most frequent names of that class and of the others."""
    split = open_shards(data, "train")
    reader, own, others = ShardReader(split), Counter[str](), Counter[str]()
    settings = {"made_by": Path(__file__).name, "kind": kind}
    with ShardWriter(folder, SAMPLE, settings, samples_per_shard=ASSETS, split="train") as writer:
        for shard, count in enumerate(split.samples_per_shard.tolist()):
            for number in range(count):
                sample = reader.read(shard, number)
                meta = sample["meta.json"]
                if meta["class"] != kind:
                    others[meta["name"]] += 1
                    continue
                own[meta["name"]] += 1
                if own.total() <= ASSETS:
                    writer.write(sample.key, {name: sample[name] for name in sample})
    write_manifest(folder, SAMPLE, settings, writer.entries, {"classes": {kind: min(ASSETS, own.total())}})
    return [name for name, _ in own.most_common(NAMES)], [name for name, _ in others.most_common(NAMES)]


def agreements(model: Path, data: str, prompts: Path) -> str:
    """Share of samples whose nearest asset has the prompted name and class."""
    words = [f"prompts.file={prompts}", "prompts.guidance=[3.0]", "prompts.seeds=[0,1,2]"]
    run("evaluate.py", f"run={model}", f"data_root={data}", *words, environment=ONE_THREAD)
    report = json.loads((model / "evaluation" / "prompts.json").read_text())
    return f"{report['name']['share']:.0%} / {report['class']['share']:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a finished run of furniture_latent")
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--kind", default="vehicle", help="the class")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    place = ROOT / "outputs" / "fine_tuning"
    names = dict(zip(("own", "others"), write_class(arguments.data, arguments.kind, place / "shards"), strict=True))
    files = {key: place / f"{key}.txt" for key in names}
    for key, file in files.items():
        file.write_text("\n".join(f"a {name.lower()}" for name in names[key]))
    budget = f"{{max_steps:{arguments.steps},max_minutes:null,min_steps:0,warmup_steps:20}}"
    models = {"before": arguments.base}
    for title, words in (("LoRA, rank 8", ADAPTER), ("whole", WHOLE)):
        name = f"fine_tuning_{words is ADAPTER}"
        common = [f"name={name}", f"data.root={place / 'shards'}", f"init_from={arguments.base}"]
        steps = [
            "stages=[autoencoder,latents,diffusion]",
            "training.diffusion.batch_size=32",
            "callbacks.pictures=null",
        ]
        run("train.py", "experiment=furniture_latent", *common, *steps, f"training.diffusion.budget={budget}", *words,
            environment=ONE_THREAD)  # fmt: skip
        models[title] = newest_model(name).parent
    heads = [f"{arguments.steps} steps on {ASSETS} assets", f"{arguments.kind}: name / class", "others: name / class"]
    print(f"| {' | '.join(heads)} |\n|---|---|---|")
    for title, model in models.items():
        shares = [agreements(model, arguments.data, file) for file in files.values()]
        print(f"| {title} | {shares[0]} | {shares[1]} |", flush=True)


if __name__ == "__main__":
    main()
