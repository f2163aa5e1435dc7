"""Image files of every kind and age, as upright RGB pictures (Pillow, simplejpeg for JPEG, pillow-heif for HEIC,
extras for JPEG XL, RAW and unusual TIFFs).

`probe` reads a header, `decode` gives the picture as a person sees it, `decode_fast` the same from JPEG in a fraction
of the time, `decode_for_benchmark` what the published retrieval numbers were computed from; `make_thumbnail` gives a
small one for a screen, `draw_jpeg` as a JPEG. Whatever a file contains, they return or raise `ImageError`.

    image_files  which files are images, within limits   exif       its tags
    decoding   the four ways in                          reasons    why a file gave no picture
    cropping   parts of what was decoded
    photo_facts, file_facts    what is known of it beside its pixels
    xmp, takeout, raw_profiles where that stands          showing    small, in the colours of its profile
    file_signatures  what a file is that is none     mending    files that Pillow refuses, as it takes them
    raw, jxl, svg  by other libraries (lazy)   truncated  of a JPEG what is there
    aperture   of an AVIF what is to be seen             tiff, directories   what Pillow does not know of TIFF
    cutters    what cuts a file into several pictures: the records
    turbo      JPEG by libjpeg-turbo, scaled as it is decoded        colours, silence
"""

from mmsearch.images.cropping import crop, crop_pixels
from mmsearch.images.cutters import AS_USUAL, WHOLE, CutOptions, Cutter, MadePicture, PictureSpan
from mmsearch.images.decoding import (
    DecodedImage,
    Header,
    JpegHeader,
    StoredImage,
    decode,
    decode_fast,
    decode_for_benchmark,
    decode_stream,
    jpeg_header,
    probe,
    read_header_facts,
    upright_size,
)
from mmsearch.images.directories import read_directory, values_of
from mmsearch.images.image_files import FORMATS, MAX_PIXELS, RAISES_LIMIT
from mmsearch.images.photo_facts import (
    DATE_SOURCES,
    NOTHING_SAID,
    PhotoFacts,
    SaidDate,
    clean_text,
    join_make,
    merge_facts,
    parse_date,
    position_at,
)
from mmsearch.images.raw import LEAST_RAW_SIDE
from mmsearch.images.showing import draw_jpeg, draw_part, make_thumbnail, to_srgb
from mmsearch.images.takeout import takeout_facts
from mmsearch.images.xmp import xmp_facts

__all__ = [
    "AS_USUAL",
    "DATE_SOURCES",
    "FORMATS",
    "LEAST_RAW_SIDE",
    "MAX_PIXELS",
    "RAISES_LIMIT",
    "NOTHING_SAID",
    "WHOLE",
    "CutOptions",
    "Cutter",
    "MadePicture",
    "PictureSpan",
    "PhotoFacts",
    "SaidDate",
    "clean_text",
    "join_make",
    "merge_facts",
    "crop",
    "crop_pixels",
    "parse_date",
    "position_at",
    "Header",
    "DecodedImage",
    "StoredImage",
    "decode",
    "decode_stream",
    "read_directory",
    "values_of",
    "decode_fast",
    "JpegHeader",
    "decode_for_benchmark",
    "jpeg_header",
    "probe",
    "upright_size",
    "read_header_facts",
    "takeout_facts",
    "xmp_facts",
    "make_thumbnail",
    "to_srgb",
    "draw_jpeg",
    "draw_part",
]
