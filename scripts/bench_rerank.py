"""How many pairs of a picture and a text re-rankers look at in a second, and what keeping the picture's side saves.

    python -m scripts.bench_rerank
    python -m scripts.bench_rerank --models blip blip2 vilt --pictures 8 --texts 8 --device cuda

Models of transformers are made with the sizes of the published ones and random weights, since speed does not depend on
what weights say; BLIP-2 takes 5 GB. `--models hf:FOLDER` measures a model that is there.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmsearch.rerankers import Reranker, open_reranker

_TEXT = "a small red house to the left of two white boats in front of snowy mountains at dusk"


def write_random_model(kind: str, folder: Path) -> str:
    """A model of the published size with random weights, and a tokenizer of BERT's kind. Returns its spec."""
    import transformers

    torch.manual_seed(0)
    config: Any
    model: Any
    size: dict[str, int]
    processor: Any = transformers.BlipImageProcessor
    if kind == "blip":
        config = transformers.BlipConfig(
            text_config={
                "vocab_size": 30_524,
                "encoder_hidden_size": 768,
                "hidden_size": 768,
                "num_attention_heads": 12,
            },
            vision_config={"image_size": 384},
            image_text_hidden_size=256,
        )
        model, size = transformers.BlipForImageTextRetrieval(config), {"height": 384, "width": 384}
    elif kind == "blip2":
        config = transformers.Blip2Config(
            vision_config={"image_size": 364},
            qformer_config={"vocab_size": 30_523, "use_qformer_text_input": True},
            text_config={"model_type": "opt", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        )
        model, size = transformers.Blip2ForImageTextRetrieval(config), {"height": 364, "width": 364}
    else:
        model, size = transformers.ViltForImageAndTextRetrieval(transformers.ViltConfig()), {"shortest_edge": 384}
        processor = transformers.ViltImageProcessor
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(_TEXT.split())]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    processor(size=size).save_pretrained(folder)
    return f"hf:{folder}"


def seconds_of(reranker: Reranker, pictures: int, texts: int) -> tuple[float, float]:
    """Seconds to look at a picture, and to ask about a pair."""
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)) for _ in range(pictures)]
    prepared = [reranker.prepare(image) for image in images]
    reranker.match([_TEXT], reranker.look(prepared[:1]))  # what is done once is done
    started = time.perf_counter()
    seen = [state for each in prepared for state in reranker.look([each])]
    looked = time.perf_counter()
    pairs = [(_TEXT, state) for _ in range(texts) for state in seen]
    for start in range(0, len(pairs), reranker.pairs_at_once):
        some = pairs[start : start + reranker.pairs_at_once]
        reranker.match([text for text, _ in some], [state for _, state in some])
    asked = time.perf_counter()
    return (looked - started) / pictures, (asked - looked) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["blip", "vilt"], help="blip, blip2, vilt, or specs")
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--texts", type=int, default=4, help="that are asked of each picture")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print(f"{'re-ranker':28}{'ms a picture':>14}{'ms a pair':>11}{'pairs a second':>16}{'kept':>8}{'saved':>8}")
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            spec = write_random_model(model, Path(folder)) if model in ("blip", "blip2", "vilt") else model
            reranker = open_reranker(spec, device=args.device)
            look, match = seconds_of(reranker, args.pictures, args.texts)
        saved = look / (look + match)
        print(
            f"{model:28}{1000 * look:14.1f}{1000 * match:11.1f}{1 / (look + match):16.1f}{1 / match:8.1f}"
            f"{100 * saved:7.0f}%",
            flush=True,
        )
    print(
        "pairs a second: each picture looked at anew; kept: what was seen of it is there already; saved: that share of "
        "the work"
    )


if __name__ == "__main__":
    main()
