"""How much work one request may ask for: every limit of it, in one place."""

from dataclasses import dataclass, fields

__all__ = ["MOST_RERANKED", "RERANKED", "REQUEST", "TEXT_CHARACTERS", "Budget"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The work of one request. What it asks for is counted before any of it is done.

    Attributes:
        body_bytes: of a message; a picture that is sent has a limit of its own.
        text_characters: of each text once it stands in its template: a model reads some dozen words.
        texts: that are encoded, each text in each template counted.
        characters: of all these texts together.
        parts: of one query.
        marks: of all queries together; each has its vector read.
        templates: of one query; 80 is what CLIP was evaluated with.
        queries: of one request.
        hits: how far down a ranking one query may look, k + offset.
        hits_together: k + offset of all its queries.
        filter_characters: of an SQL expression.
        filter_seconds: in which a filter is done with all rows.
        reranked: candidates of all its queries that a re-ranker looks at.
        rerank_seconds: in which it looks at those of one query.
        phrases: that are looked for in a picture.
        explain_seconds: in which they are found, waiting for its turn among them.
        pixels: of a picture that is sent.
        seconds: in which all is answered, waiting for its turn among them.
    """

    body_bytes: int = 2 << 20
    text_characters: int = 10_000
    texts: int = 2_000
    characters: int = 400_000
    parts: int = 64
    marks: int = 512
    templates: int = 100
    queries: int = 256
    hits: int = 10_000
    hits_together: int = 100_000
    filter_characters: int = 4_000
    filter_seconds: int = 10
    reranked: int = 512
    rerank_seconds: int = 20
    phrases: int = 16
    explain_seconds: int = 60
    pixels: int = 100_000_000
    seconds: int = 60

    def described(self) -> str:
        """Its limits, for the description of the API."""
        limits = (f"{each.name.replace('_', ' ')} {getattr(self, each.name):,}" for each in fields(self))
        return "One request may ask for at most: " + ", ".join(limits) + "."


REQUEST = Budget()
"""What a stranger's request may ask for."""

RERANKED = 128
"""How many candidates are re-ranked unless somebody says otherwise: as many as in BLIP's evaluation of Flickr30k, which
took 256 of COCO."""

MOST_RERANKED = 10_000
"""Of a query of whoever runs the command."""

TEXT_CHARACTERS = 1_000_000
"""Of a text in its template, of whoever runs the command. What the model does not read of it is cut, with a warning."""
