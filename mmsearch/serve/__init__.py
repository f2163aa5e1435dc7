"""A gallery over HTTP: a page for people, an API for programs.

    running      the server: its socket, its threads, its end
    app          the routes
    messages     what goes over the wire
    safety       who may ask, and how much
    asking       queries that arrive together are answered together
    following    the newest version of the gallery
    pictures     pictures that are asked with
    contents     the files of the gallery, when they still are what it holds
    thumbnails   made once, kept in a bounded cache
    metrics      for Prometheus
    client       asking a server as if its gallery were here
    page/        what a browser shows

FastAPI, uvicorn and pydantic are imported by this package and by nothing else.
"""

from mmsearch.serve.running import ServeOptions, gallery_app, serve_gallery

__all__ = ["ServeOptions", "gallery_app", "serve_gallery"]
