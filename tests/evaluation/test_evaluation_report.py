"""The page of an evaluation says what its JSON says, and shows its pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import bootstrap

from fieldforge.evaluation.evaluation_report import Column, plain_json, table_of, write_report


def test_a_row_says_unit_direction_reference_and_interval():
    values = np.random.default_rng(0).random(50)
    sets = {"train": {"coverage": 0.5}}
    table = table_of("All", "", [Column("mine", {"iou": values, "name": np.full(50, np.nan)}, sets=sets)])
    assert table.heads == ["measure", "unit", "better", "compared with", "mine"]
    (title, unit, better, reference, cell), among = table.rows
    assert (title, unit, better, reference) == ("volume IoU\niou", "%", "↑ higher", "the true sample")
    mean, interval = cell.split("\n")
    low, high = (float(end.rstrip(" %")) / 100 for end in interval.split(" … "))
    theirs = bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    assert mean == f"{100 * values.mean():.1f} %"
    assert (low, high) == (pytest.approx(theirs.low, abs=0.01), pytest.approx(theirs.high, abs=0.01))
    assert among == ["coverage\ncoverage", "%", "↑ higher", "split train", "50.0 %"]


def test_columns_lack_what_they_do_not_measure_and_unknown_measures_keep_their_name():
    table = table_of("", "", [Column("a", {"pitch_error": np.ones(2)}), Column("b", {"iou": np.ones(2)})])
    assert [row[0] for row in table.rows] == ["volume IoU\niou", "pitch error\npitch_error"]
    assert [row[4:] for row in table.rows] == [["—", "100.0 %\n100.0 % … 100.0 %"], ["1.000\n1.000 … 1.000", "—"]]


def test_samples_of_a_group_widen_the_interval():
    values = np.random.default_rng(1).normal(size=10).repeat(8)
    alone = Column("", {"psnr": values}).figures["psnr"]
    grouped = Column("", {"psnr": values}, np.arange(80) // 8).figures["psnr"]
    assert grouped.mean == alone.mean
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_rows_of_texts_and_numbers_become_a_column_of_numbers():
    column = Column.of_rows("x", [{"key": "a", "iou": 0.5}, {"key": "b", "iou": 1.0}])
    assert list(column.values) == ["iou"]
    assert column.plain["iou"]["mean"] == 0.75
    assert Column.of_rows("x", []).figures == {}


def test_the_report_is_one_page_with_its_pictures_and_escapes_texts(tmp_path, caplog):
    def broken() -> Image.Image:
        raise ValueError("no font")

    table = table_of("<b>", "n & m", [Column("<i>", {"iou": np.ones(3)})])
    sheets = {"a.png": lambda: Image.new("RGB", (20_000, 8)), "b.png": broken}
    write_report(tmp_path / "a.json", {"run": "outputs/<run>", "mean": float("nan")}, "Title", [table], sheets)
    assert json.loads((tmp_path / "a.json").read_text()) == {"run": "outputs/<run>", "mean": None}
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") == page.count("data:image/webp;base64,") == 1
    assert "&lt;b&gt;" in page
    assert "outputs/&lt;run&gt;" in page
    assert "<i>" not in page
    assert "http" not in page
    assert "b.png is not written (ValueError: no font)" in caplog.text


def test_json_has_no_nan():
    assert json.loads(plain_json({"a": [1.0, float("inf")], "b": {"c": float("nan")}})) == {
        "a": [1.0, None],
        "b": {"c": None},
    }
