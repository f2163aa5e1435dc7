"""What pages are made of: pictures as data URIs, text that HTML may hold, templates that escape."""

import base64
import io
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL.Image import Image

from mmsearch import images
from mmsearch.errors import ImageError
from mmsearch.locations import url_of
from mmsearch.names import shown
from mmsearch.sources import read_location
from mmsearch.version import __version__

__all__ = ["file_link", "make_printable", "render_page", "thumbnail_uri"]

DRAWN_AT_ONCE = 4
_THUMBNAIL = 512  # pixels of the longer side: sharp at 240 on a screen with two pixels to the point
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]")


def render_page(template: str, **values: Any) -> str:
    """The page that a template of this folder makes of values; `now` and `version` are there too."""
    # Here, since a query that needs no page should not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mmsearch.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = make_printable
    return environment.get_template(template).render(now=datetime.now().astimezone(), version=__version__, **values)


def thumbnail_uri(
    file: str | None, edge: int = _THUMBNAIL, *, draw: Callable[[Image], Image] = lambda image: image
) -> tuple[str | None, str]:
    """A picture, its longer side `edge` pixels, as a data URI; or None and the reason. draw: what is drawn over it."""
    if file is None:
        return None, "no picture"
    try:
        image = draw(images.make_thumbnail(read_location(file), edge))
    except FileNotFoundError:
        return None, "gone since it was embedded"
    except OSError as error:
        return None, f"cannot be read: {(error.strerror or str(error)).lower()}"
    except ImageError as error:
        return None, f"cannot be read: {error.reason}"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", ""


def file_link(file: str | None) -> str | None:
    """The address by which a page opens a file of this machine; None of what is no file here, or is gone."""
    return Path(file).as_uri() if file and url_of(file) is None and Path(file).is_file() else None


def make_printable(text: str) -> str:
    """Valid text: what HTML may not hold, and what would turn a line around, as escapes."""
    return _UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), shown(text))
