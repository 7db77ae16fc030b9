"""Assignment of assets to splits, also in sets so small that the hash of the names leaves a split empty."""

from collections import Counter
from collections.abc import Iterable

from fieldforge.preparation.asset_records import AssetRecord, hash_of, split_of, stem

TRAIN, HELDOUT = "train", "heldout"


def assign_splits(records: list[AssetRecord], heldout_share: float) -> tuple[dict[str, str], str]:
    """Split of each asset by its id, and a sentence where one had to be made ("" otherwise).

    The source's split has priority over the split of the name's stem. If a split stays empty, one stem with at most
    half of the assets moves there: the one whose hash is nearest to the border. With a single stem, single assets move,
    by the hashes of their ids. A single asset belongs to training, and so do all assets if `heldout_share` is 0.
    """
    splits = {record.id: record.split or split_of(record.name, heldout_share) for record in records}
    free = [record for record in records if record.split is None]
    missing = {TRAIN, HELDOUT} - set(splits.values())
    if not free or not missing or (missing == {HELDOUT} and (heldout_share == 0 or len(records) == 1)):
        return splits, ""
    (empty,) = missing
    moved = _moved(free, empty, len(records), heldout_share)
    splits |= {record.id: empty for record in moved}
    names = ", ".join(f"'{record.name}'" for record in moved[:3]) + (", …" if len(moved) > 3 else "")
    return splits, (
        f"by the hashes of their names none of the {len(records)} assets would be in the split '{empty}': "
        f"{names} ({len(moved)} of them) went there"
    )


def uneven(records: list[AssetRecord], splits: dict[str, str], heldout_share: float) -> str:
    """A sentence where the split leaves a class without training assets, or is far from the share; "" otherwise.

    Names that share a stem share a split ("table 1", "table 2"), so that one long series can be held out as a whole.

    Args:
        records: of all assets.
        splits: id → split.
        heldout_share: wanted, 0 … 1.
    """
    training_classes = {record.asset_class for record in records if splits[record.id] == TRAIN}
    held_out = [record for record in records if splits[record.id] == HELDOUT]
    classes = Counter(record.asset_class for record in held_out if record.asset_class not in training_classes)
    parts = []
    if classes and training_classes:
        names = ", ".join(f"'{name}' ({count})" for name, count in classes.most_common(5))
        parts.append(f"held out as whole classes, so that no model learns them: {names}" + ", …" * (len(classes) > 5))
    expected = heldout_share * len(records)
    if expected >= 1 and abs(len(held_out) - expected) > max(5, 4 * expected**0.5, 0.5 * expected):
        parts.append(f"{len(held_out)} of {len(records)} assets are held out, not {heldout_share:.0%} of them")
    if not parts:
        return ""
    return "; ".join(parts) + ": names with one stem go together; a column 'split' in the labels decides it yourself"


def _moved(free: list[AssetRecord], empty: str, count: int, heldout_share: float) -> list[AssetRecord]:
    """The free assets that move to the empty split."""
    sizes = Counter(stem(record.name) for record in free)
    small = [name for name, size in sizes.items() if 2 * size <= count]
    if small:
        nearest = _nearest(small, empty)
        return [record for record in free if stem(record.name) == nearest]
    nearest = _nearest((record.id for record in free), HELDOUT)
    held_out = [record for record in free if record.id == nearest or hash_of(record.id) < heldout_share * 2**64]
    if len(free) == 1:
        return free
    if len(held_out) == len(free):
        held_out = [record for record in free if record.id == nearest]
    return held_out if empty == HELDOUT else [record for record in free if record not in held_out]


def _nearest(names: Iterable[str], empty: str) -> str:
    """Held out are the lowest hashes: the lowest of those above the border is nearest to it, or the highest below."""
    return min(names, key=hash_of) if empty == HELDOUT else max(names, key=hash_of)
