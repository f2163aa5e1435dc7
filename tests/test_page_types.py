"""The scripts of the page and the API agree: the types are made from its description, and TypeScript holds to them."""

import re
import shutil
from pathlib import Path

import pytest

from scripts.page_types import PAGE, TYPES, check_scripts, find_tsc, page_types


def test_the_types_of_the_page_are_what_the_api_describes() -> None:
    assert TYPES.read_text("utf-8") == page_types(), "python scripts/page_types.py writes them"


@pytest.mark.soak
def test_a_field_that_the_server_never_sends_is_an_error(tmp_path: Path) -> None:
    """In what the page sends, is sent, and is told of a failure; and nothing else is wrong."""
    tsc = find_tsc()
    if tsc is None:
        pytest.skip("tsc is not installed")
    wrong = {
        "answer-summary.js": ("last.rank", "last.position"),  # POST /api/query
        "chips.js": ("item.path", "item.heading"),  # GET /api/images/{row_id}
        "chosen-actions.js": ("const { files }", "const { files, folder }"),  # POST /api/files
        "timeline-pictures.js": ("const { hits, version }", "const { hits, version, total }"),  # GET /api/timeline/…
        "filters.js": ("{ name, type }", "{ name, type, unit }"),
        "gallery-facts.js": ("gallery.mmsearch", "gallery.release"),  # GET /api/gallery
        "picture-search.js": ("error.body.picture", "error.body.hash"),
        "pictures.js": ("const { picture }", "const { picture, row_id }"),  # POST /api/pictures
        "query.js": ("min_score: ", "least_score: "),
        "search.js": ("answer.version", "answer.number"),  # GET /api/sample too
    }
    page = tmp_path / "page"
    shutil.copytree(PAGE, page)
    for name, (sent, never_sent) in wrong.items():
        text = (page / name).read_text("utf-8")
        assert sent in text, name
        (page / name).write_text(text.replace(sent, never_sent, 1), "utf-8")
    said = check_scripts(tsc, page).stdout
    errors = re.split(r"\n(?=\S)", said)  # further lines of an error are indented
    found = [re.search(r"([\w-]+\.js)\(.*'(\w+)' does not exist", each, re.DOTALL) for each in errors]
    expected = {(name, re.findall(r"\w+", never_sent)[-1]) for name, (_, never_sent) in wrong.items()}
    assert {each.groups() for each in found if each} == expected, said
