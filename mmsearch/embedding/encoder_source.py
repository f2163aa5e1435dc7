"""Loads the encoder of a run: in this process when it is first needed, or in each worker of a cluster."""

import threading
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from mmsearch import encoders
from mmsearch.embedding.cluster_run import ClusterExecutor
from mmsearch.embedding.file_sync import route_of
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.text_side_change import take_text_side
from mmsearch.embedding.worker import WorkerInfo, WorkerSettings
from mmsearch.encoders import DEFAULT_MODEL, Encoder
from mmsearch.errors import EncoderError, MmsearchError, MmsearchWarning
from mmsearch.gallery import GalleryWriter
from mmsearch.identity import EncoderIdentity, require_same_encoder
from mmsearch.items import CAPTIONS, AnyKind
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["EncoderSource", "KeptEncoder"]

_DEMO_WARNING = (
    "the demo model knows drawn postcards (data/postcards) and nothing else; on other pictures its answers mean nothing"
)


@dataclass(slots=True)
class KeptEncoder:
    """An encoder that stays loaded from one run to the next. sides: those that it was opened for."""

    encoder: Encoder | None = None
    sides: frozenset[str] = frozenset()


class EncoderSource:
    """Loads the encoder when something has to be encoded, and not before: a run without changes stays quick."""

    def __init__(
        self,
        wanted: str | Encoder | None,
        writer: GalleryWriter,
        options: EmbedOptions,
        announce: Callable[[str], None],
        sides: Collection[str],
        kept: KeptEncoder | None = None,
        progress: ProgressCallback = quiet,
        *,
        only_looks: bool = False,
    ) -> None:
        """only_looks: nothing is going to be written."""
        self._writer, self._options, self._announce = writer, options, announce
        self._sides: Collection[str] = sides
        self._progress, self._only_looks, self._is_other = progress, only_looks, False
        self._kept = kept or KeptEncoder()
        self._own = writer.manifest.encoder if writer.manifest.version else None
        self._wanted: str | Encoder = wanted or (self._own.spec if self._own else DEFAULT_MODEL)
        self._loading = threading.Lock()
        self._failure: MmsearchError | None = None
        self._workers: list[WorkerInfo] = []
        self.loaded: Encoder | None = None

    def check_model(self) -> None:
        """Raise EncoderMismatch for a model that is not the gallery's, even where nothing has to be encoded."""
        if self._own is None or self._wanted == self._own.spec:
            return
        if not isinstance(self._wanted, str) or encoders.canonical_spec(self._wanted) != self._own.spec:
            self._is_other = True
            self._sides = {*self._sides, CAPTIONS.side}  # with which its texts would be encoded anew
            self.load()

    def load(self) -> Encoder:
        """The encoder, loaded once by the first thread that asks. Where loading failed, every call raises the error."""
        with self._loading:
            if self._failure is not None:
                raise self._failure
            if self.loaded is None:
                try:
                    self.loaded = self._open_encoder()
                except MmsearchError as error:
                    self._failure = error
                    raise
            return self.loaded

    def _open_encoder(self) -> Encoder:
        if self._kept.encoder is not None and self._kept.sides.issuperset(self._sides):
            self._set_encoder(self._kept.encoder)
            return self._kept.encoder
        if isinstance(self._wanted, str):
            self._announce(f"loading {self._wanted}")
        encoder = encoders.open(
            self._wanted,
            self._sides,
            device=self._options.device,
            precision=self._precision(),
            for_gallery=self._writer.gallery if self._own else None,
            any_text_side=self._is_other or self._only_looks,  # one of the same name that has changed is a mistake
            announce=self._announce,
        )
        self._set_encoder(encoder)
        self._announce_encoder(encoder.identity, encoder.device, encoder.precision)
        self._kept.encoder, self._kept.sides = encoder, frozenset(self._sides)
        return encoder

    def _set_encoder(self, encoder: Encoder) -> None:
        if self._is_other and self._own is not None and encoder.identity.fingerprint != self._own.fingerprint:
            self._take_text_side(encoder)
        if not self._only_looks:
            self._writer.set_encoder(encoder.identity, self._options.dtype)

    def _take_text_side(self, encoder: Encoder) -> None:
        """The gallery's vectors of pictures are the encoder's; its texts are encoded anew."""
        before, change = self._writer.manifest.encoder.spec, "would take" if self._only_looks else "takes"
        self._announce(f"the gallery {change} the text side of {encoder.identity.spec}; before it was that of {before}")
        if self._only_looks:
            return
        texts = take_text_side(self._writer, encoder, self._progress)
        self._announce(f"{texts:,} texts encoded anew; pictures keep their vectors")

    def _precision(self) -> str:
        return _require_fp32(self._options.precision) if self._options.exact else self._options.precision

    def _announce_encoder(self, identity: EncoderIdentity, device: str, precision: str) -> None:
        if identity.spec == "demo":
            warnings.warn(_DEMO_WARNING, MmsearchWarning, stacklevel=2)
        self._announce(f"encoding with {identity.spec} on {device}, {precision}")

    def make_ray_executor(self) -> ClusterExecutor:
        """Make an executor whose workers load the encoder themselves. Raises ClusterError where there is no Ray."""
        from mmsearch.cluster.ray import RayWorkerPool

        options, writer = self._options, self._writer
        _require_for_workers(options.device)
        wanted = encoders.canonical_spec(self._wanted) if isinstance(self._wanted, str) else self._wanted
        dtype = writer.manifest.dtype if writer.manifest.version else options.dtype
        worker_options = replace(options, precision=self._precision())

        def start_pool(kind: AnyKind) -> RayWorkerPool:
            settings = WorkerSettings(
                *(wanted, worker_options, kind, route_of(kind, options)),
                *(writer.gallery.path, dtype, writer.manifest.content_hash),
            )
            address = None if options.ray == "any" else options.ray
            gpus = options.device != "cpu"
            return RayWorkerPool(address, settings, threads=options.threads, gpus=gpus, announce=self._announce)

        return ClusterExecutor(start_pool, check_model=self._check_worker, announce=self._announce)

    def _check_worker(self, worker: WorkerInfo) -> None:
        if self._workers:
            require_same_encoder(self._workers[0].identity, worker.identity, self._writer.gallery.path)
        else:
            self._writer.set_encoder(worker.identity, self._options.dtype)
            self._announce_encoder(
                worker.identity, f"a Ray cluster, {worker.provenance.device}", worker.provenance.precision
            )
        self._workers.append(worker)

    @property
    def devices_used(self) -> tuple[str | None, str | None]:
        """(device, precision) of the encoder or of the workers; (None, None) where nothing had to be encoded."""
        pairs = sorted({(info.provenance.device, info.provenance.precision) for info in self._workers})
        if self.loaded is not None and not pairs:
            return self.loaded.device, self.loaded.precision
        if not pairs:
            return None, None
        devices, precisions = (" and ".join(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
        workers = "1 worker" if len(self._workers) == 1 else f"{len(self._workers)} workers"
        return f"{workers} on Ray, {devices}", precisions


def _require_fp32(precision: str) -> str:
    """The precision of the exact route. Raises EncoderError where another one was asked for."""
    if precision not in ("auto", "fp32"):
        raise EncoderError(f"--exact computes in fp32, not in {precision}; leave one of the two out")
    return "fp32"


def _require_for_workers(device: str) -> None:
    """Raise EncoderError for a device that a worker on a cluster cannot be told to use."""
    if device not in ("auto", "cpu", "cuda"):
        raise EncoderError(
            f"--device {device}: on a cluster, which device a worker gets is decided there; use auto, cuda or cpu"
        )
