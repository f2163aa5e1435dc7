"""What can be embedded, on disks and in object stores: folders, single files, archives, lists of files, captions."""

from mmsearch.sources.archives import (
    ArchiveListing,
    container_form,
    cutting_of,
    has_joined,
    list_container,
    member_names,
    refused_archive,
)
from mmsearch.sources.caption_files import CaptionFile, CaptionLine, read_captions
from mmsearch.sources.caption_sidecars import read_sidecar_captions
from mmsearch.sources.caption_tables import USUAL_NAMES, ColumnNames, numbered_captions
from mmsearch.sources.companions import Role, join_names
from mmsearch.sources.facts_beside import merge_beside
from mmsearch.sources.folders import FolderWalk
from mmsearch.sources.lists import FileList, is_list, read_list
from mmsearch.sources.member_bytes import bytes_of_container, check_as_listed
from mmsearch.sources.named_files import find_files, join_named, list_names
from mmsearch.sources.named_pictures import no_picture, read_named_picture
from mmsearch.sources.open_files import (
    MAX_FILE_BYTES,
    OpenFile,
    container_of,
    hash_location,
    local_bytes,
    open_location,
    open_source_file,
    read_location,
    read_picture,
)
from mmsearch.sources.page_texts import holds_page_texts, read_document_captions
from mmsearch.sources.read_ahead import read_ahead
from mmsearch.sources.selection import EVERYTHING, Selection
from mmsearch.sources.source_files import (
    JOINED,
    MEMBER,
    Companion,
    Container,
    ContainerState,
    Member,
    SourceFile,
    file_in,
    is_clutter,
    is_hidden,
    shown,
)
from mmsearch.sources.spans import (
    SpanLocation,
    hash_span,
    list_pictures,
    local_path,
    spanned,
    whole_picture,
)

__all__ = [
    "MAX_FILE_BYTES",
    "EVERYTHING",
    "JOINED",
    "MEMBER",
    "USUAL_NAMES",
    "Companion",
    "Container",
    "ContainerState",
    "CaptionFile",
    "CaptionLine",
    "ColumnNames",
    "FileList",
    "FolderWalk",
    "ArchiveListing",
    "Member",
    "OpenFile",
    "Role",
    "Selection",
    "SourceFile",
    "SpanLocation",
    "bytes_of_container",
    "check_as_listed",
    "container_form",
    "container_of",
    "cutting_of",
    "file_in",
    "find_files",
    "has_joined",
    "hash_location",
    "hash_span",
    "is_clutter",
    "is_hidden",
    "join_named",
    "join_names",
    "list_names",
    "merge_beside",
    "holds_page_texts",
    "is_list",
    "list_container",
    "list_pictures",
    "local_bytes",
    "local_path",
    "member_names",
    "numbered_captions",
    "open_source_file",
    "open_location",
    "read_captions",
    "read_document_captions",
    "read_list",
    "read_location",
    "no_picture",
    "read_named_picture",
    "read_picture",
    "read_sidecar_captions",
    "read_ahead",
    "refused_archive",
    "shown",
    "spanned",
    "whole_picture",
]
