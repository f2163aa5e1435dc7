"""Text sides of the package transformers, as open_clip's multilingual models have them, in numpy, beside torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.hf_model import HFTextEncoder
from PIL import Image

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders import Encoder, EncoderRequest
from mmsearch.encoders.hub_layout import read_hub_text
from mmsearch.encoders.open_clip_provider import without_torch
from mmsearch.encoders.torch_parts import Unsuited
from mmsearch.search.open_gallery import open_gallery
from mmsearch.towers.hub_tower import HubTextDesign, HubTextTower
from tests.models import write_tiny_model
from tests.test_hub_tokenizers import nasty_texts, nllb_like, roberta_like, xlm_roberta_like

ROBERTA = {
    "vocab_size": 600,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 90,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
}
M2M_100 = {
    "model_type": "m2m_100",
    "vocab_size": 600,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 90,
    "pad_token_id": 1,
    "activation_function": "relu",
    "scale_embedding": True,
}
XLM_ROBERTA = {"model_type": "xlm-roberta", **ROBERTA}


def write_model(
    folder: Path, config: dict[str, Any], text_cfg: dict[str, Any], tokenizer: Callable[[Path], dict[str, Any]]
) -> Path:
    """A model as open_clip writes them, with the config of its text side and a tokenizer beside it."""
    folder.mkdir()
    settings = tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps(config))
    text = {"hf_model_name": str(folder), "hf_model_pretrained": False, "hf_tokenizer_name": "org/name", **text_cfg}
    return write_tiny_model(folder, model={"custom_text": True, "text_cfg": text})


def without(encoder: Encoder) -> Encoder:
    """The text side of the same encoder, without torch."""
    request = EncoderRequest(
        spec=encoder.identity.spec,
        sides=frozenset({"text"}),
        device="cpu",
        precision="auto",
        known=encoder.identity,
        announce=pytest.fail,
    )
    found = without_torch(request)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "text_cfg", "tokenizer"),
    [
        (XLM_ROBERTA, {"hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp"}, xlm_roberta_like),  # xlm-roberta-…
        ({"model_type": "roberta", **ROBERTA}, {"hf_proj_type": "linear"}, roberta_like),  # coca_roberta
        (XLM_ROBERTA, {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}, xlm_roberta_like),
        (XLM_ROBERTA, {"hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": "linear"}, xlm_roberta_like),
        (M2M_100, {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}, nllb_like),  # nllb-clip
        ({**M2M_100, "scale_embedding": False, "activation_function": "gelu"}, {"hf_proj_type": "mlp"}, nllb_like),
        ({**XLM_ROBERTA, "hidden_size": 32}, {"hf_pooler_type": "mean_pooler", "hf_proj_type": None}, xlm_roberta_like),
    ],
)
def test_vectors_equal_torchs(
    config: dict[str, Any], text_cfg: dict[str, Any], tokenizer: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """Of texts of all lengths, in many scripts, with padding among them, alone and together."""
    encoder = encoders.open(f"local-dir:{write_model(tmp_path / 'm', config, text_cfg, tokenizer)}", device="cpu")
    texts = nasty_texts(150)
    ours, theirs = without(encoder).text.encode(texts), encoder.text.encode(texts)
    assert np.abs(ours.vectors - theirs.vectors).max() < 5e-6
    assert ours.truncated.tolist() == theirs.truncated.tolist()
    assert len(np.unique(theirs.vectors.round(3), axis=0)) > 100


def test_a_query_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    """They are needed once, to lay the text side out."""
    text_cfg = {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}
    encoder = encoders.open(f"local-dir:{write_model(tmp_path / 'm', M2M_100, text_cfg, nllb_like)}", device="cpu")
    (tmp_path / "photos").mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (40, 40), name).save(tmp_path / "photos" / f"{name}.png")
    gallery = tmp_path / "g"
    embed([tmp_path / "photos"], gallery=gallery, encoder=encoder)
    program = "import sys; from mmsearch.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", program, "query", "ein roter Hund", "-g", str(gallery), "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    expected = open_gallery(gallery, encoder=encoder).query("ein roter Hund")
    assert [json.loads(line)["path"] for line in lines] == [hit.path for hit in expected]
    assert not set(modules.split()) & {"torch", "open_clip", "transformers"}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: setattr(text, "pooler", torch.nn.Identity()), "its pooling is Identity"),
        (lambda text: setattr(text, "proj", torch.nn.ReLU()), "its projection is of a kind"),
        (
            lambda text: setattr(text, "transformer", torch.nn.Identity()),
            r"only torch runs \(Identity of transformers\)",
        ),
        (lambda text: setattr(text.config, "hidden_act", "silu"), "its activation is 'silu'"),
        (lambda text: setattr(text.config, "is_decoder", True), "attends as only torch does"),
    ],
)
def test_a_text_side_of_another_kind_goes_through_torch(
    change: Callable[[Any], object], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(XLM_ROBERTA))
    text = HFTextEncoder(str(tmp_path), 32, pooler_type="mean_pooler", proj_type="linear", pretrained=False)
    read_hub_text(text)
    change(text)
    with pytest.raises(Unsuited, match=reason):
        read_hub_text(text)


def test_a_tower_without_a_tensor_is_refused() -> None:
    design = HubTextDesign(0, 2, "gelu", "pooler", True, 1.0, 1, 2, 1e-5)
    with pytest.raises(ValueError, match=r"without ln_outer.bias"):
        HubTextTower(design, {})
