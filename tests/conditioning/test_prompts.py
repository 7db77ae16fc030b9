import pytest

from fieldforge.conditioning.prompts import Prompt, frequent_names, name_meant, read_prompts
from fieldforge.errors import UserError


def test_one_prompt_a_line(tmp_path):
    (tmp_path / "prompts.txt").write_text("\ufeffa red armchair\n\n# a remark\n  ein Stuhl für Größe \r\n")
    result = read_prompts(tmp_path / "prompts.txt")
    assert result.prompts == (Prompt(1, "a red armchair"), Prompt(4, "ein Stuhl für Größe"))
    assert result.complaints == ()


def test_bad_lines_are_reported_by_number_and_the_rest_is_used(tmp_path):
    lines = [b"a chair", b"\xff\xfe", b"a\x00b", b"a sofa"]
    (tmp_path / "prompts.txt").write_bytes(b"\n".join(lines))
    result = read_prompts(tmp_path / "prompts.txt")
    assert [(prompt.line, prompt.text) for prompt in result.prompts] == [(1, "a chair"), (4, "a sofa")]
    assert result.complaints == (
        "prompts.txt, line 2: is not UTF-8 text",
        "prompts.txt, line 3: holds characters that cannot be printed",
    )


def test_objects_say_several_things_at_once(tmp_path):
    lines = ['{"prompt": "a chair", "class": "Living room"}', '{"image": "photo.png"}', "{", '{"colour": "red"}', "[]"]
    lines += ['{"prompt": " "}', "{}", '{"prompt": 3}', "[" * 100_000]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    result = read_prompts(tmp_path / "prompts.jsonl")
    assert result.prompts == (
        Prompt(1, "a chair", "Living room"),
        Prompt(2, image=str(tmp_path / "photo.png")),
    )
    assert [complaint.split(": ", 1)[1] for complaint in result.complaints] == [
        "is not JSON (Expecting property name enclosed in double quotes at column 2)",
        "has the unknown key 'colour', known are class, image, prompt",
        'is not an object such as {"prompt": "a chair"}',
        "has no text in 'prompt'",
        "asks for nothing",
        "has no text in 'prompt'",
        "is nested too deeply",
    ]


@pytest.mark.parametrize(
    ("content", "reason"), [("", "no prompt in it"), ("\n \n# remark\n", "no prompt in it"), ("\x01", "line 1: holds")]
)
def test_a_file_without_a_usable_line_is_refused(tmp_path, content, reason):
    (tmp_path / "prompts.txt").write_text(content)
    with pytest.raises(UserError, match=reason):
        read_prompts(tmp_path / "prompts.txt")
    with pytest.raises(UserError, match="no such file"):
        read_prompts(tmp_path / "none.txt")


def test_names_are_picked_by_rule_and_found_in_prompts():
    metas = [
        {"class": kind, "name": name} for kind, name in [("s", "Chair"), ("s", "chair"), ("s", "Sofa"), ("t", "Desk")]
    ]
    assert frequent_names(metas, 3) == ["chair", "desk", "sofa"]
    assert name_meant("a red office chair", ["chair", "office chair", "air"]) == "office chair"
    assert name_meant("a chairlift", ["chair"]) is None
