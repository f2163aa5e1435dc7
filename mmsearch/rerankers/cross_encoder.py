"""Cross-encoders of sentence-transformers that take pictures, such as Qwen3-VL-Reranker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.model_folders import CONFIG, find_model_folder, no_downloads, parse_model_name
from mmsearch.errors import EncoderError
from mmsearch.rerankers.pairs import device_of
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["CrossEncoderReranker"]


class CrossEncoderReranker(Reranker):
    """`Reranker` of a cross-encoder. It runs picture and text together: nothing is kept of a picture."""

    pairs_at_once = 4

    def __init__(self, request: RerankerRequest) -> None:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise EncoderError(f"{request.spec}: sentence-transformers cannot be imported: {error}") from error

        self.spec = request.spec
        device, self.device = device_of(request)
        name = parse_model_name(request.spec)
        folder = find_model_folder(name, [CONFIG], announce=request.announce, modules=True)
        try:
            with no_downloads():
                self._model: Any = CrossEncoder(
                    str(folder),
                    device=str(device),
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True},
                )
        except Exception as error:  # each of the packages raises a tree of its own
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise EncoderError(f"{request.spec} cannot be loaded as a cross-encoder from {folder}: {words}") from error
        self._require_pictures()

    def prepare(self, image: "PIL.Image.Image") -> "PIL.Image.Image":
        return image

    def look(self, prepared: Sequence[Any]) -> list[Any]:
        return [*prepared]

    def match(self, texts: Sequence[str], pictures: Sequence[Any]) -> NDArray[np.float64]:
        try:
            scores = self._model.predict(
                [*zip(texts, pictures, strict=True)], batch_size=self.pairs_at_once, show_progress_bar=False
            )
        except Exception as error:  # whatever a model's own processor thinks of a picture or a text
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise EncoderError(f"{self.spec} cannot be asked about a text and a picture: {words}") from error
        values: NDArray[np.float64] = np.asarray(scores, np.float64)
        if values.shape != (len(texts),):
            raise EncoderError(
                f"{self.spec} gives values of the shape {values.shape} for {len(texts)} pairs, not one each"
            )
        return values

    def _require_pictures(self) -> None:
        supports = getattr(self._model, "supports", None)
        if supports is None:
            raise EncoderError(
                f"{self.spec}: this release of sentence-transformers knows texts only: "
                'pip install -U "mmsearch[rerank]"'
            )
        if not supports("image"):
            takes = ", ".join(map(str, self._model.modalities))
            raise EncoderError(f"{self.spec} takes no pictures (it takes: {takes}); a re-ranker looks at both")
