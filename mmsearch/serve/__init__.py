"""A gallery over HTTP: a page for people, an API for programs.

    running      the server: its socket, its start and its end
    connections  no connection waits for ever
    safety       who may ask, and how much
    app, routes/ what can be asked
    messages     what goes over the wire         failures   what goes wrong, as answers
    service      all that the routes work with
    query_threads     queries that arrive together are answered together, by threads
    instruments       a clock beside them, and a memory for texts
    sent_images       pictures that are asked with
    timelines    those that were asked for lately
    zips         several pictures, sent while they are read
    crops        parts of pictures at their own pixels
    thumbnails   made once, kept in a bounded cache
    pools        threads for all else, none of which may take for ever
    metrics      for Prometheus
    client       asking a server as if its gallery were here
    page/        what a browser shows

FastAPI, uvicorn and pydantic are imported by this package and by nothing else, and not by the client.
"""
