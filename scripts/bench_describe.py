"""How much faster pictures are described in batches than by a plain loop, measured in one run.

    python -m scripts.bench_describe                          # BLIP's size for captions, random weights
    python -m scripts.bench_describe --model hf:FOLDER --pictures 16

The plain loop is what a model's card shows: the processor and `generate` of transformers, a picture at a time. Both
describe the same pictures and have to say the same. Without --model a BLIP with random weights and the sizes of
BLIP base for captions is written to a folder that goes again; with random weights texts end where they may be no
longer, so that nothing ends early. Quote the ratio: the seconds are of this machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmsearch.describing import describe, open_describer
from mmsearch.describing.describer import MOST_TOKENS


def write_blip(folder: Path, *, small: bool) -> None:
    """A BLIP that writes, with random weights."""
    import transformers

    hf: Any = transformers
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = hf.BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=512)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    side = 224
    if not small:
        sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        side = 384
    text = {**sizes, "vocab_size": len(pieces), "encoder_hidden_size": sizes["hidden_size"]}
    text |= {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**sizes, "image_size": side, "patch_size": 16}
    torch.manual_seed(0)
    model = hf.BlipForConditionalGeneration(hf.BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(folder)
    hf.BlipProcessor(hf.BlipImageProcessor(size={"height": side, "width": side}), tokenizer).save_pretrained(folder)


def plain_loop(folder: Path, files: list[Path]) -> list[str]:
    """What the model's card would have one write."""
    import transformers

    hf: Any = transformers
    processor = hf.AutoProcessor.from_pretrained(folder)
    model = hf.AutoModelForImageTextToText.from_pretrained(folder).eval()
    said = []
    started = time.perf_counter()
    for file in files:
        inputs = processor(images=Image.open(file).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=MOST_TOKENS)
        said.append(processor.decode(ids[0], skip_special_tokens=True))
    print(f"plain loop   {(time.perf_counter() - started) / len(files):.2f} s a picture")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description="Time descriptions against a plain loop of transformers.")
    parser.add_argument("--model", help="hf:FOLDER of a model that needs no words to describe (BLIP, GIT)")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--small", action="store_true", help="a smaller model, to try the script")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        rng = np.random.default_rng(0)
        for number in range(args.pictures):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
            files.append(Path(scratch) / f"{number:03d}.jpg")
            coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(files[-1], quality=90)
        folder = Path(args.model.removeprefix("hf:")) if args.model else Path(scratch) / "blip"
        if not args.model:
            write_blip(folder, small=args.small)
        plain = plain_loop(folder, files)
        describer = open_describer(f"hf:{folder}", device="cpu")
        describer.describe([Image.open(files[0]).convert("RGB")])  # loads the weights
        started = time.perf_counter()
        guesses = [each.guess for each in describe(files, model=describer)]
        print(f"described    {(time.perf_counter() - started) / len(files):.2f} s a picture")
        same = sum(ours.rstrip("…") == " ".join(theirs.split()) for ours, theirs in zip(guesses, plain, strict=True))
        print(f"the same     {same} of {len(files)}")


if __name__ == "__main__":
    main()
