"""Files in, what becomes of them out: the work itself, the same in this process and on another machine."""

from collections.abc import Callable, Sequence

from mmsearch.encoders import Encoder
from mmsearch.loader import LoadOptions, load
from mmsearch.pipeline.embed.batches import BatchSize
from mmsearch.pipeline.embed.flow import Flow
from mmsearch.pipeline.embed.report import EmbedOptions
from mmsearch.pipeline.embed.sink import Sink
from mmsearch.pipeline.embed.stages import Stages
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["carry_out"]


def carry_out(
    tasks: Sequence[Task],
    sink: Sink,
    encoder: Callable[[], Encoder],
    options: EmbedOptions,
    stages: Stages,
    *,
    sizes: BatchSize | None = None,
    tell: Callable[[int, int], None] = lambda done, skipped: None,
) -> int:
    """Read, decode and encode files, and give `sink` all that becomes of them; returns how many were skipped.

    encoder: asked for on this thread when a picture has to be encoded and `sink` has none yet.
    stages: gets the seconds of reading, decoding and resizing, and how many lanes encode.
    sizes: of batches, as far as they were found before. tell: (files done, skipped of them), after each file.
    Raises what went wrong, when `sink` has been given all that was encoded until then.
    """
    load_options = LoadOptions(options.max_pixels, options.exact, options.benchmark, options.seconds)
    if sizes is None and options.batch_size:
        sizes = BatchSize(options.batch_size)
    done = skipped = 0

    def loaded() -> Encoder:
        if sink.encoder is None:
            raise _EncoderWanted
        return sink.encoder

    with Workers(stages.threads, "mmsearch-load") as workers:
        flow = Flow(sink, workers, stages.threads, sizes)
        try:
            if sink.encoder is not None:
                stages.lanes = flow.begin(sink.encoder)
            while done < len(tasks):
                files = (task.file for task in tasks[done:])
                pictures = load(
                    *(files, loaded, workers, stages.threads),
                    known=sink.knows,
                    sampled=sink.parity.wanted,
                    options=load_options,
                )
                try:
                    for picture in pictures:
                        flow.take(tasks[done], picture)
                        stages.add(picture.seconds)
                        done += 1
                        skipped += picture.error is not None
                        tell(done, skipped)
                except _EncoderWanted:
                    # Here and not in a decoder's thread: a download must answer to Ctrl-C. A few files are read again.
                    sink.encoder = encoder()
                    stages.lanes = flow.begin(sink.encoder)
            flow.finish()
        except BaseException:
            # Ctrl-C, a failing device: what is encoded is kept.
            try:
                flow.stop()
            except BaseException:  # Ctrl-C again
                sink.abandon()
                raise
            raise
    return skipped


class _EncoderWanted(Exception):
    """A picture is to be encoded, and the encoder is not loaded yet."""
