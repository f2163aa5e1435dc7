"""Reads, decodes and encodes files and gives the results to a sink: the same in this process and on a cluster."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.flow import Flow
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import Sink
from mmsearch.embedding.stage_times import StageClock
from mmsearch.embedding.text_work import embed_texts
from mmsearch.embedding.thinning import ThinningSink
from mmsearch.encoders import DecodesJpeg, Encoder, ImageSide
from mmsearch.errors import EncoderError
from mmsearch.loading import NVJPEG, GpuDecoding, LoadOptions, load
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["process_files"]

_GPU_THREADS = 64  # threads that wait for a GPU: as many as it decodes together


def process_files(
    tasks: Sequence[Task],
    sink: Sink,
    encoder: Callable[[], Encoder],
    options: EmbedOptions,
    clock: StageClock,
    *,
    sizes: BatchSize | None = None,
    report: Callable[[int, int], None] = lambda done, skipped: None,
) -> int:
    """Read, decode and encode files of one kind, and give the results to `sink`. Returns how many were skipped.

    encoder: called in this thread when a picture has to be encoded and `sink` has no encoder yet.
    clock: gets the seconds of reading, decoding and resizing, and how many lanes encode.
    sizes: of batches, as found in earlier calls. report: called with (files done, skipped of them) after each file.
    Errors are raised after `sink` has been given all that was encoded until then.
    """
    if tasks and tasks[0].kind.side == "text":
        return embed_texts(tasks, sink, encoder, options, clock, report=report)
    sink = thinning = ThinningSink(sink)
    load_options = LoadOptions(
        options.max_pixels, options.exact, options.benchmark, options.seconds, sink.hash_name, options.places
    )
    if sizes is None and options.batch_size:
        sizes = BatchSize(options.batch_size)
    done = skipped = 0

    def image_side() -> ImageSide:
        if sink.encoder is None:
            raise _EncoderNeeded
        return sink.encoder.image

    with ExitStack() as devices, Workers(clock.threads, "mmsearch-load") as workers:
        gpu: GpuDecoding | None = None

        def set_encoder(encoder: Encoder) -> None:
            nonlocal gpu
            clock.lanes = flow.set_encoder(encoder)
            gpu = _open_gpu_decoder(encoder.image, options, sink.parity, devices)
            if gpu is not None:
                workers.add(gpu.threads)
                clock.gpu_decoders = gpu.decoder.threads

        flow = Flow(sink, workers, clock.threads, sizes)
        try:
            if sink.encoder is not None:
                set_encoder(sink.encoder)
            while done < len(tasks):
                files = (task.file for task in tasks[done:])
                loaded_files = load(
                    *(files, image_side, workers, clock.threads),
                    is_known=sink.knows,
                    is_sampled=sink.parity.should_sample,
                    options=load_options,
                    gpu=gpu,
                )
                try:
                    for loaded in loaded_files:
                        sink.parity.count_loaded(loaded)
                        flow.add(tasks[done], loaded)
                        clock.add(loaded.seconds)
                        if loaded.pixels is not None:
                            by_gpu = loaded.group is not None and loaded.group.route == NVJPEG
                            clock.decoded_on_gpu += by_gpu
                            clock.decoded_on_cpu += not by_gpu
                        done += 1
                        skipped += loaded.error is not None
                        report(done, skipped)
                except _EncoderNeeded:
                    # Here and not in a decoder's thread: a download must answer to Ctrl-C. A few files are read again.
                    sink.encoder = encoder()
                    set_encoder(sink.encoder)
            flow.finish()
            thinning.finish()
            if gpu is not None:
                clock.gpu_decode += gpu.decoder.seconds
        except BaseException:
            # Ctrl-C, a failing device: what is encoded is kept.
            try:
                flow.stop()
            except BaseException:  # Ctrl-C again
                sink.abandon()
                raise
            raise
    return skipped


def _open_gpu_decoder(
    images: ImageSide, options: EmbedOptions, parity: ParityCheck, devices: ExitStack
) -> GpuDecoding | None:
    """Open the GPU's decoder where there is one and the options allow it. Raises EncoderError where they require it."""
    if options.decode == "cpu" or (options.decode == "auto" and (options.exact or options.benchmark)):
        return None
    reason = images.why_no_jpeg_decoder() if isinstance(images, DecodesJpeg) else "this encoder has none"
    if options.exact or options.benchmark:
        reason = "the exact route decodes with Pillow"
    if isinstance(images, DecodesJpeg) and reason is None:
        decoder = devices.enter_context(images.jpeg_decoder())
        return GpuDecoding(decoder, parity.agrees, options.decode == "gpu", _GPU_THREADS)
    if options.decode == "gpu":
        raise EncoderError(
            f"--decode gpu: {reason}; --decode auto decodes on the processor where there is no GPU for it"
        )
    return None


class _EncoderNeeded(Exception):
    """A picture is to be encoded, and the encoder is not loaded yet."""
