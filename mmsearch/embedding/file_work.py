"""Files in, what becomes of them out: the work itself, the same in this process and on another machine."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.flow import Flow
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import Sink
from mmsearch.embedding.stage_times import StageClock
from mmsearch.embedding.text_work import embed_texts
from mmsearch.encoders import DecodesJpeg, Encoder, ImageSide
from mmsearch.errors import EncoderError
from mmsearch.loader import NVJPEG, LoadOptions, OnDevice, load
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["process_files"]

_WAITING = 64  # threads that wait for a GPU: as many as it decodes together


def process_files(
    tasks: Sequence[Task],
    sink: Sink,
    encoder: Callable[[], Encoder],
    options: EmbedOptions,
    clock: StageClock,
    *,
    sizes: BatchSize | None = None,
    tell: Callable[[int, int], None] = lambda done, skipped: None,
) -> int:
    """Read, decode and encode files of one kind, and give `sink` all that becomes of them; how many were skipped.

    encoder: asked for on this thread when a picture has to be encoded and `sink` has none yet.
    clock: gets the seconds of reading, decoding and resizing, and how many lanes encode.
    sizes: of batches, as far as they were found before. tell: (files done, skipped of them), after each file.
    Raises what went wrong, when `sink` has been given all that was encoded until then.
    """
    if tasks and tasks[0].kind.side == "text":
        return embed_texts(tasks, sink, encoder, options, clock, tell=tell)
    load_options = LoadOptions(options.max_pixels, options.exact, options.benchmark, options.seconds)
    if sizes is None and options.batch_size:
        sizes = BatchSize(options.batch_size)
    done = skipped = 0

    def image_side() -> ImageSide:
        if sink.encoder is None:
            raise _EncoderWanted
        return sink.encoder.image

    with ExitStack() as devices, Workers(clock.threads, "mmsearch-load") as workers:
        on_device: OnDevice | None = None

        def begin(encoder: Encoder) -> None:
            nonlocal on_device
            clock.lanes = flow.begin(encoder)
            on_device = _on_device(encoder.image, options, sink.parity, devices)
            if on_device is not None:
                workers.add(on_device.threads)
                clock.gpu_decoders = on_device.decoder.threads

        flow = Flow(sink, workers, clock.threads, sizes)
        try:
            if sink.encoder is not None:
                begin(sink.encoder)
            while done < len(tasks):
                files = (task.file for task in tasks[done:])
                pictures = load(
                    *(files, image_side, workers, clock.threads),
                    known=sink.knows,
                    sampled=sink.parity.wanted,
                    options=load_options,
                    on_device=on_device,
                )
                try:
                    for picture in pictures:
                        flow.take(tasks[done], picture)
                        clock.add(picture.seconds)
                        if picture.pixels is not None:
                            by_gpu = picture.kind is not None and picture.kind.route == NVJPEG
                            clock.decoded_on_gpu += by_gpu
                            clock.decoded_on_cpu += not by_gpu
                        done += 1
                        skipped += picture.error is not None
                        tell(done, skipped)
                except _EncoderWanted:
                    # Here and not in a decoder's thread: a download must answer to Ctrl-C. A few files are read again.
                    sink.encoder = encoder()
                    begin(sink.encoder)
            flow.finish()
            if on_device is not None:
                clock.gpu_decode += on_device.decoder.seconds
        except BaseException:
            # Ctrl-C, a failing device: what is encoded is kept.
            try:
                flow.stop()
            except BaseException:  # Ctrl-C again
                sink.abandon()
                raise
            raise
    return skipped


def _on_device(images: ImageSide, options: EmbedOptions, parity: ParityCheck, devices: ExitStack) -> OnDevice | None:
    """The GPU that decodes beside the cores, if there is one and it may. Raises EncoderError where it was asked for."""
    if options.decode == "cpu" or (options.decode == "auto" and (options.exact or options.benchmark)):
        return None
    reason = images.why_no_jpeg_decoder() if isinstance(images, DecodesJpeg) else "this encoder has none"
    if options.exact or options.benchmark:
        reason = "the exact route decodes with Pillow"
    if isinstance(images, DecodesJpeg) and reason is None:
        decoder = devices.enter_context(images.jpeg_decoder())
        return OnDevice(decoder, parity.agrees, options.decode == "gpu", _WAITING)
    if options.decode == "gpu":
        raise EncoderError(
            f"--decode gpu: {reason}; --decode auto decodes on the processor where there is no GPU for it"
        )
    return None


class _EncoderWanted(Exception):
    """A picture is to be encoded, and the encoder is not loaded yet."""
