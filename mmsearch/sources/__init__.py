"""What can be embedded: folders of image files, single files, and files of captions."""

from mmsearch.sources.captions import CaptionFile, CaptionLine, read_captions
from mmsearch.sources.folders import FolderWalk, SourceFile, file_in, shown

__all__ = ["CaptionFile", "CaptionLine", "FolderWalk", "SourceFile", "file_in", "read_captions", "shown"]
