"""Asset source: the views of prepared shapes as separate pictures."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from fieldforge.data.codec import encode_png
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shards import ShardSet, open_shards
from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.storage.files import atomic_file


class ViewsSource:
    """An asset source over all views of the sample shards in the local folder `shards`.

    A view has the names, captions and class of its shape, and its split. A zip of the views is kept in `cache`.
    """

    def __init__(self, shards: str, cache: str) -> None:
        self.shards, self.cache = Path(shards), Path(cache)

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All views, shape after shape. UserError if the folder holds no shards of shapes."""
        path = self.cache / f"views-{self._fingerprint}.zip"
        if path.is_file():
            return [record for sample in self._samples() for record in _records(sample, path)]
        records: list[AssetRecord] = []
        with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
            for sample in self._samples():
                for record in _records(sample, path):
                    view = sample[record.file.rpartition("/")[2]]
                    archive.writestr(zipfile.ZipInfo(record.file), encode_png(view))
                    records.append(record)
        return records

    def fingerprint(self) -> dict[str, str]:
        """That of the shards."""
        return {"shards": self._fingerprint}

    @property
    def _fingerprint(self) -> str:
        return self._opened()[0].manifests[0].fingerprint

    def _opened(self) -> list[ShardSet]:
        """The shards of each split."""
        if not self.shards.is_dir():
            raise UserError(f"source.shards={self.shards}: there is no such folder; give one of prepared shapes.")
        splits = open_shards(self.shards, "train").manifests[0].shards.splits
        opened = [open_shards(self.shards, split) for split in sorted(splits)]
        if opened[0].schema != SAMPLE:
            raise UserError(
                f"source.shards={self.shards}: holds {opened[0].schema.name} shards; give a folder of prepared shapes."
            )
        return opened

    def _samples(self) -> Iterator[LazySample]:
        for shards in self._opened():
            reader = ShardReader(shards)
            for shard, count in enumerate(shards.samples_per_shard.tolist()):
                for number in range(count):
                    yield reader.read(shard, number)


def _records(sample: LazySample, archive: Path) -> list[AssetRecord]:
    meta = sample["meta.json"]
    views = sorted(name for name in sample if name.startswith("view_") and name.endswith(".png"))
    return [
        AssetRecord(
            id=f"{meta['id']}/{view.removesuffix('.png')}",
            name=meta["name"],
            archive=str(archive),
            file=f"{sample.key}/{view}",
            source=meta["source"],
            asset_class=meta["class"],
            captions=tuple(meta["captions"]),
            names_by_language=tuple(
                (language, name) for language, names in meta["captions_by_language"].items() for name in names
            ),
            tags=tuple(meta["tags"]),
            licence=meta["licence"],
            creator=meta["creator"],
            split=meta["split"],
        )
        for view in views
    ]
