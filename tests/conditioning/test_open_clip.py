"""The adapter to open_clip, against that library's own calls; its absence is a sentence."""

import json
import sys

import pytest
import torch

from fieldforge.conditioning import OpenClipImageEncoder, OpenClipTextEncoder
from fieldforge.errors import UserError

CPU = torch.device("cpu")
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
TEXTS = ["a red armchair", "a bathtub"]
SMALL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3},
}


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"pip install '\.\[open_clip\]'"):
        _ = OpenClipTextEncoder("ViT-B-32", "laion2b_s34b_b79k").vector_width


class TestWithTheLibrary:
    @pytest.fixture(autouse=True)
    def small(self, tmp_path):
        """A small random model under the name `small`, its weights in a file."""
        library = pytest.importorskip("open_clip")
        (tmp_path / "small.json").write_text(json.dumps(SMALL))
        library.add_model_config(tmp_path / "small.json")
        torch.manual_seed(0)
        self.network = library.create_model("small").eval()
        self.library, self.weights = library, str(tmp_path / "weights.pt")
        torch.save(self.network.state_dict(), self.weights)

    def test_text_is_the_library_s_own(self):
        encoder = OpenClipTextEncoder("small", self.weights)
        features, ids = encoder.encode(TEXTS, CPU), self.library.get_tokenizer("small")(TEXTS)
        with torch.no_grad():
            torch.testing.assert_close(features.vector, self.network.encode_text(ids), **ROUNDING)
            hidden = self.network.forward_intermediates(text=ids, text_indices=2)["text_intermediates"]
            torch.testing.assert_close(features.tokens, self.network.ln_final(hidden[1]), **ROUNDING)
            earlier = OpenClipTextEncoder("small", self.weights, "penultimate").encode(TEXTS, CPU).tokens
            torch.testing.assert_close(earlier, hidden[0], **ROUNDING)
        assert torch.equal(features.mask, ids != 0)
        assert (encoder.vector_width, encoder.token_width) == (24, 32)

    def test_pictures_are_the_library_s_own(self):
        encoder = OpenClipImageEncoder("small", self.weights)
        pictures = torch.rand(2, 3, 32, 32)
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in (self.network.visual.image_mean, self.network.visual.image_std)
        )
        features = encoder.encode(pictures)
        with torch.no_grad():
            own = self.network.encode_image((pictures - mean) / std)
        torch.testing.assert_close(features.vector, own, **ROUNDING)
        assert features.tokens.shape == (2, encoder.token_count, encoder.token_width) == (2, 16, 64)

    def test_bad_names_weights_and_prompts(self):
        with pytest.raises(UserError, match="no model 'nothing'"):
            _ = OpenClipTextEncoder("nothing", self.weights).vector_width
        with pytest.raises(UserError, match="no weights 'nothing'"):
            OpenClipTextEncoder("small", "nothing").encode(TEXTS, CPU)
        with pytest.raises(UserError, match="prompt is empty"):
            OpenClipTextEncoder("small", self.weights).encode([" "], CPU)
