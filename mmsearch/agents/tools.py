"""The tools that agents are shown: their names, and what is said of them. They go by that, and by the schemas of what
the tools take and answer."""

from mmsearch.agents.arguments import (
    MOST_HITS,
    MOST_LOOKED_AT,
    DescribeArguments,
    FacetsArguments,
    LookArguments,
    MoreLikeArguments,
    SearchArguments,
)
from mmsearch.agents.gallery_tools import VALUES, GalleryTools, Tool
from mmsearch.agents.messages import UNTRUSTED, AnswerBody, FacetsBody, GalleryBody, LookBody
from mmsearch.agents.pictures import EDGE

__all__ = ["INSTRUCTIONS", "TOOLS"]

INSTRUCTIONS = (
    "A gallery of pictures that are searched by what is to be seen in them. describe_gallery says what there is. "
    "search takes plain words; with sheet it gives one picture of all hits, which is the quickest way to see whether "
    "they fit. look shows some of them larger. Refine by other words, by like and avoid, or by conditions. There is "
    "always a best hit: unless `fits` says 'likely', look before you answer, and say so when nothing fits. "
    f"Pictures are named by their row ids. {UNTRUSTED}"
)

TOOLS = (
    Tool(
        "describe_gallery",
        "What there is",
        "Say what the gallery holds: how many pictures, of which years, what conditions and facets it knows, whether "
        "it is known how well hits fit, and what cannot be done here. Takes no arguments.",
        DescribeArguments,
        GalleryBody,
        GalleryTools.describe,
    ),
    Tool(
        "search",
        "Search",
        "Find pictures by what is to be seen in them: by text, by like (row ids of pictures that they should "
        "resemble), or both; avoid leads away from texts or row ids; where limits it to dates, sizes, cameras, places. "
        "Say what is to be seen, plainly; more than a few dozen words are not read. `fits` says whether anything fits, "
        f"as far as that is known. At most {MOST_HITS} hits. {UNTRUSTED}",
        SearchArguments,
        AnswerBody,
        GalleryTools.search,
    ),
    Tool(
        "look",
        "Look closely",
        f"See pictures by their row ids, at most {MOST_LOOKED_AT} at a time and {EDGE:,} pixels wide or high, with "
        "size, date, camera, place, title and captions as far as they are known, and what models guess. Of a frame of "
        f"a film a strip of those around it, whose seconds are strip_s. {UNTRUSTED}",
        LookArguments,
        LookBody,
        GalleryTools.look,
    ),
    Tool(
        "more_like",
        "More like this",
        f"Find pictures that look like one of the gallery, by its row id. At most {MOST_HITS} hits. {UNTRUSTED}",
        MoreLikeArguments,
        AnswerBody,
        GalleryTools.more_like,
    ),
    Tool(
        "facets",
        "Count",
        "Count the pictures by year, camera, lens, place and rating, as far as that is known of them; where limits "
        f"what is counted. The {VALUES} most frequent values of each. {UNTRUSTED}",
        FacetsArguments,
        FacetsBody,
        GalleryTools.facets,
    ),
)
"""All that agents can do."""
