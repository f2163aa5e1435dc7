"""Models and tokenizers of transformers out of folders that were checked (`mmsearch.encoders.model_folders`): all of
their weights, no code of theirs, nothing from a network, and not a word on the terminal."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mmsearch.encoders.model_folders import no_downloads
from mmsearch.errors import EncoderError

__all__ = ["first_words", "load_model", "load_part", "load_tokenizer", "quietly", "tensors_in"]


def load_model(kind: Any, folder: Path, spec: str, device: torch.device, *, advice: str, dtype: Any = None) -> Any:
    """A model of a class of transformers, ready to be asked. dtype: fp32 by default. advice: what a model that lacks
    weights may be, a sentence.

    Raises EncoderError where weights are missing, of another shape or damaged: what is missing would be random.
    """
    try:
        with no_downloads(), quietly():
            model, told = kind.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype or torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and the disk raise trees of their own
        raise EncoderError(
            f"{spec} cannot be loaded as a {kind.__name__} from {folder}: {first_words(error)}"
        ) from error
    absent = sorted({*told["missing_keys"], *(str(each[0]) for each in told["mismatched_keys"])})
    if absent:
        more = f" and {len(absent) - 3:,} more" if len(absent) > 3 else ""
        raise EncoderError(
            f"{spec} lacks weights of a {kind.__name__}: {', '.join(absent[:3])}{more}. {advice}; a model with random "
            "weights is not used"
        )
    return model.to(device).eval()


def load_tokenizer(folder: Path, spec: str) -> Any:
    """The tokenizer of a model. Raises EncoderError."""
    return load_part("AutoTokenizer", folder, f"the tokenizer of {spec}")


def load_part(auto: str, folder: Path, named: str) -> Any:
    """What an auto class of transformers makes of a folder. named: the part, for messages. Raises EncoderError."""
    import transformers

    try:
        with no_downloads(), quietly():
            made = getattr(transformers, auto)
            return made.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise EncoderError(f"{named} cannot be loaded from {folder}: {first_words(error)}") from error


def tensors_in(weights: Sequence[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of all tensors of these files, one after the other. Raises EncoderError for a damaged file."""
    from safetensors import safe_open

    for file in weights:
        try:
            with safe_open(str(file), framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no dict
                    yield name, opened.get_tensor(name)
        except Exception as error:  # safetensors raises a tree of its own
            raise EncoderError(f"{file} is damaged: {first_words(error)}") from error


def first_words(error: Exception) -> str:
    """An error of somebody else's package, in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, transformers says nothing: its hints are for who trains, its bars are of the reading of a file, and what
    is wrong is said here."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    before, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()
