"""The figures of evaluate.py against cases whose answer is plain."""

import numpy as np
import pytest

from fieldforge.errors import UserError
from fieldforge.evaluation.picture_following import print_figures, spread
from fieldforge.evaluation.prior_embeddings import Truth, figures
from fieldforge.evaluation.prompt_following import agreements
from fieldforge.evaluation.questions import Question, asked_with, questions_for
from fieldforge.evaluation.reconstructions import means_of, quarters, statistics
from fieldforge.metrics.retrieval import Views

METAS = [{"name": "Red Ball", "class": "ball"}, {"name": "box", "class": "box"}, {"name": "red ball", "class": "ball"}]


def test_spread_takes_both_ends():
    assert spread(5, None) == [0, 1, 2, 3, 4]
    assert spread(9, 3) == [0, 4, 8]
    assert spread(2, 12) == [0, 1]


def test_mean_and_median_of_what_is_a_number():
    assets = [{"key": "a", "iou": 0.5}, {"key": "b", "iou": 1.0}, {"key": "c", "iou": 0.0}, {"key": "d", "iou": 0.9}]
    assert statistics(assets) == ({"iou": pytest.approx(0.6)}, {"iou": pytest.approx(0.7)})


def test_what_does_not_apply_to_a_sample_is_left_out_of_its_means():
    assert statistics([{"a": 1.0}, {"a": float("nan")}, {"a": 3.0}]) == ({"a": 2.0}, {"a": 2.0})
    assert statistics([{"a": float("nan")}]) == ({}, {})


def test_questions_are_names_classes_or_the_texts_of_a_file(tmp_path):
    ball, box = Question("red ball", "red ball", "ball"), Question("box", "box", "box")
    assert questions_for(METAS, {"caption"}, 5, None) == [ball, box]
    assert questions_for(METAS, {"class"}, 5, None) == [Question("ball", None, "ball"), Question("box", None, "box")]
    (tmp_path / "texts.txt").write_text("a red ball\na cloud\n")
    file = str(tmp_path / "texts.txt")
    named, unnamed = questions_for(METAS, {"caption"}, 5, file)
    assert (named.name, named.kind) == ("red ball", "ball")
    assert unnamed == Question("a cloud", None, None)
    with pytest.raises(UserError, match="this model reads no texts, and no training name is in the prompt 'a cloud'"):
        questions_for(METAS, {"class"}, 5, file)
    with pytest.raises(UserError, match=r"^prompts\.file=/nowhere: there is no such file"):
        questions_for(METAS, {"caption"}, 5, "/nowhere")


def test_a_model_that_reads_texts_is_asked_with_the_text_alone():
    questions = [Question("a red ball", "red ball", "ball"), Question("a cloud", None, None)]
    assert asked_with(questions, {"caption", "class", "image"}) == {"caption": ["a red ball", "a cloud"]}
    assert asked_with(questions[:1], {"class"}) == {"class": ["ball"]}


def test_agreement_is_counted_over_the_questions_that_have_a_label():
    questions = [Question("a", "red ball", "ball"), Question("b", "box", "box"), Question("c", None, None)]
    result = agreements(np.array([0, 2, 1]), questions, METAS)
    assert result["name"] == {"share": 0.5, "chance": pytest.approx(0.5), "lift": pytest.approx(1.0), "samples": 2}
    assert result["class"]["share"] == 0.5
    assert agreements(np.array([1]), questions[2:], METAS) == {}


def test_embeddings_of_the_right_asset_are_retrieved():
    axes = np.eye(3, dtype=np.float32)
    views = Views([axes[:1], axes[1:2], axes[2:]])
    metas = [{"captions": [f"thing {number}"], "name": f"thing {number}", "class": "x"} for number in range(3)]
    truth = Truth(metas, ["a", "b", "c"], [[0], [0], [0]], views)
    right = figures(truth, views.cosines(np.concatenate([axes, axes])))  # two seeds
    assert (right["cosine"]["own"], right["cosine"]["others"]) == (pytest.approx(1), pytest.approx(0))
    assert right["retrieval"]["top_1"] == {"share": 1.0, "chance": pytest.approx(1 / 3)}
    wrong = figures(truth, views.cosines(axes[[1, 2, 0]]))
    assert wrong["retrieval"]["top_1"]["share"] == 0
    assert (wrong["assets"], wrong["distinct_captions"]) == (3, 3)


def test_things_are_called_as_their_domain_calls_them(capsys):
    views = {"conditional": 0.5, "unconditional": 1.0, "reduction": 0.5, "samples": 4}
    icons = {"share": 0.5, "samples": 4, "chance": 0.1, "reconstructed": 1.0, "nearest_view": {"clip": 0.2}}
    print_figures({"views": views, "icons": icons}, "sound")
    out = capsys.readouterr().out
    assert "nearest training sound" in out
    assert "held-out sound" in out
    assert "shape" not in out


def test_quarters_follow_the_measure_and_hold_every_asset_once():
    assets = [
        {"thickness": float(number), "iou": number / 10, "f_score": 1.0} for number in (7, 1, 5, 3, 6, 2, 4, 8, 9)
    ]
    divided = quarters(assets, ("thickness", "f_score"))
    assert list(divided) == ["thickness"]  # nothing is divided by what all have in common
    parts = [means_of(part, "thickness", ("iou",)) for part in divided["thickness"]]
    assert [part["up_to"] for part in parts] == [2, 4, 6, 9]
    assert [round(part["iou"], 6) for part in parts] == [0.15, 0.35, 0.55, 0.8]
    assert quarters(assets, ()) == quarters(assets[:3], ("thickness",)) == {}
