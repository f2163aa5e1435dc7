"""Films: their frames, with the times at which they are shown (PyAV, the extra `video`).

`read_table` says when all frames of a film are shown, `choose_frames` which of them a `FrameChoice` wants, and
`open_film` decodes these, upright and small enough for a model, in a process of its own, within limits of time and
memory. PyAV is imported there only.

    frame_table   when frames are shown, by tables or by packets   choosing   frames by their times
    reading       starts the process and reads what it says        messages   how both talk
    film_process  the process                                      film_stream  which packets it decodes
    picturing     from a decoded frame to a picture              hdr          and from HDR to SDR
    film_heads    what is no film at first sight               moments      a moment as a film, by a process of its own
"""

from mmsearch.films.choosing import GAP_SECONDS, choose_frames
from mmsearch.films.film_heads import may_be_film
from mmsearch.films.frame_table import FrameTable, read_mp4_table
from mmsearch.films.moments import copy_moment
from mmsearch.films.reading import NO_DECODER, Film, FilmFrame, FilmLimits, has_decoder, open_film, read_table

__all__ = [
    "GAP_SECONDS",
    "NO_DECODER",
    "Film",
    "FilmFrame",
    "FilmLimits",
    "FrameTable",
    "choose_frames",
    "copy_moment",
    "may_be_film",
    "has_decoder",
    "open_film",
    "read_mp4_table",
    "read_table",
]
