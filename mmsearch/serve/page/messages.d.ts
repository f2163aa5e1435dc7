// Written by scripts/page_types.py from the description of the API. Do not edit.

/**
 * The hits of a query, best first. more: whether there may be others beyond them. notes: what is as it should be
 * and worth knowing: how well marks agree. version: of the gallery. probability: the chance that any of the ten best
 * is relevant; above_general: the share of general texts whose best score is lower than the best here; null where that
 * is not known. worth: what people should know of that. reranked: how many of the best were re-ranked; null where that
 * was not asked for.
 */
export interface AnswerBody {
  title: string;
  hits: Array<HitBody>;
  more: boolean;
  warnings: Array<string>;
  notes?: Array<string>;
  version: number;
  probability?: number | null;
  above_general?: number | null;
  worth?: string | null;
  reranked?: number | null;
}

/** An answer a query, in their order. */
export interface AnswersBody {
  answers: Array<AnswerBody | ErrorBody>;
}

/** Pictures that were chosen, by their row ids. */
export interface ChosenBody {
  row_ids: Array<number>;
}

/** A column that a filter may use. */
export interface ColumnBody {
  name: string;
  type: string;
}

/** Pixels of the longer side, at most. */
export type Edge = 320 | 640 | 1280 | 8192;

/** What made the vectors. declared: nobody has checked that it did. */
export interface EncoderBody {
  spec: string;
  dim: number;
  declared: boolean;
}

/**
 * What is wrong, where, and what to do. code: for programs, where there is one: unknown_picture (`picture` is its
 * content hash), bad_filter, name_taken.
 */
export interface ErrorBody {
  error: string;
  code?: string | null;
  picture?: string | null;
}

/** What is looked for in a picture: what a query asks with. quick: as a preview, several times as fast. */
export interface ExplainBody {
  parts: Array<PartBody>;
  quick?: boolean;
}

/** A region a phrase, in their order. */
export interface ExplanationBody {
  regions: Array<RegionBody>;
  version: number;
}

/** The values of a facet, the most frequent first. others: how many values are left out. */
export interface FacetBody {
  values: Array<FacetValueBody>;
  others: number;
  version: number;
}

/** A value, as text, and how many pictures have it. */
export interface FacetValueBody {
  value: string;
  count: number;
}

/** Where the file of each picture is; null for one that is no longer in the gallery. */
export interface FilesBody {
  files: Array<string | null>;
}

/** A folder below a root, and how many pictures lie in it and below it. */
export interface FolderBody {
  root: number;
  path: string;
  count: number;
}

/** Folders in the order of their names. others: how many are left out. */
export interface FoldersBody {
  folders: Array<FolderBody>;
  others: number;
  version: number;
}

/**
 * What is served. reranker: what queries may name as `rerank`; null for nothing. columns: by table. keeps: whether
 * queries can be kept here. answers_text: false where the model of its queries could not be loaded; text_problem:
 * why.
 */
export interface GalleryBody {
  name: string;
  version: number;
  images: number;
  captions: number;
  encoder: EncoderBody;
  reranker: string | null;
  indexes: Array<IndexBody>;
  roots: Array<RootBody>;
  columns: Record<string, Array<ColumnBody>>;
  limits: LimitsBody;
  keeps: boolean;
  answers_text: boolean;
  text_problem: string | null;
  mmsearch: string;
}

/** What a model says of a picture: a machine's guess, of which nothing is checked. */
export interface GuessBody {
  guess: string;
  guessed_by: string;
}

/** Whether queries are answered, and by which version. */
export interface HealthBody {
  status: string;
  version: number;
}

/**
 * A hit: the object of `mmsearch query --format jsonl`. Of a caption, path and file are those of its picture.
 *
 * path_bytes, file_bytes: base64 of the real name where path or file is not it, since it is no UTF-8.
 * image: of a caption, the row id of its picture; null where the gallery holds none.
 * corrected: the score less what hubs lose, which ranks go by; null where it was not corrected. probability: the
 * chance that it is relevant; null where that is not known. z, table: among items of several kinds, the standard score
 * that ranks go by, and the kind; else null. rerank: what a re-ranker finds, which ranks go by; null where it did not
 * look. from_s, to_s: of a frame of a film, when the moment that it is the best frame of is seen, in seconds; start_s,
 * end_s: when the frame is. page, box: of a page and of a tile. mean: with per_video "mean", what ranks go by.
 */
export interface HitBody {
  rank: number;
  score: number;
  row_id: number;
  path: string | null;
  file: string | null;
  width?: number | null;
  height?: number | null;
  taken_at?: string | null;
  gone: boolean;
  damaged?: boolean | null;
  path_bytes: string | null;
  file_bytes: string | null;
  taken_from?: string | null;
  utc_offset?: number | null;
  camera?: string | null;
  lens?: string | null;
  lat?: number | null;
  lon?: number | null;
  city?: string | null;
  country?: string | null;
  title?: string | null;
  keywords?: Array<string> | null;
  rating?: number | null;
  files?: Array<string> | null;
  caption?: string | null;
  guessed_by?: string | null;
  image?: number | null;
  start_s?: number | null;
  end_s?: number | null;
  page?: number | null;
  box?: Array<number> | null;
  from_s?: number | null;
  to_s?: number | null;
  mean?: number | null;
  corrected?: number | null;
  probability?: number | null;
  z?: number | null;
  rerank?: number | null;
  table?: string | null;
}

/**
 * All that the gallery holds of a picture, but its vector. path_bytes: as of a hit. captions: those that people
 * have written; guesses: what models have said.
 */
export interface ImageBody {
  row_id: number;
  path: string;
  file: string | null;
  width: number | null;
  height: number | null;
  taken_at: string | null;
  gone: boolean;
  damaged: boolean | null;
  path_bytes: string | null;
  taken_from: string | null;
  utc_offset: number | null;
  camera: string | null;
  lens: string | null;
  lat: number | null;
  lon: number | null;
  city: string | null;
  country: string | null;
  title: string | null;
  keywords: Array<string> | null;
  rating: number | null;
  files: Array<string> | null;
  root_id: number;
  bytes: number | null;
  mtime_ns: number | null;
  etag: string | null;
  content_hash: string | null;
  captions: Array<string>;
  guesses: Array<GuessBody>;
  box: Array<number> | null;
  /** Of a tile, the row id of the picture that it is of, where that is held. */
  whole: number | null;
}

/** An index of a table. */
export interface IndexBody {
  table: string;
  factory: string;
  rows: number;
}

/** What is to be kept under a name, to be asked again by it. */
export interface KeepBody {
  /** Letters, digits, and - _ . between them. */
  name: string;
  parts: Array<PartBody>;
  templates?: Array<string>;
  /** Instead of what is kept under the name by now. */
  replace?: boolean;
}

/** The names that queries are kept under, sorted. */
export interface KeptBody {
  names: Array<string>;
}

/** Pixels of the longer side, at most. */
export type LARGE = 320 | 640 | 1280 | 8192;

/** How much one request may ask for: as the description of the API says it, and bytes of a picture that is sent. */
export interface LimitsBody {
  upload_bytes: number;
  body_bytes: number;
  text_characters: number;
  texts: number;
  characters: number;
  parts: number;
  marks: number;
  templates: number;
  queries: number;
  hits: number;
  hits_together: number;
  filter_characters: number;
  filter_seconds: number;
  reranked: number;
  rerank_seconds: number;
  phrases: number;
  explain_seconds: number;
  pixels: number;
  seconds: number;
}

/** How many pictures were taken in a month, as "2024-05"; null: those whose date is not known. */
export interface MonthBody {
  month: string | null;
  count: number;
}

/** One thing to ask with: exactly one of text, picture, like, mark and kept. */
export interface PartBody {
  /** Words. */
  text?: string | null;
  /** A picture by its content hash: one that was uploaded, or one that the gallery holds. */
  picture?: string | null;
  /** A picture of the gallery, left out of the answer: its row id, or its path. */
  like?: number | string | null;
  /** A picture of the gallery that is right, or wrong where its weight is negative: what the query looks for is learnt from such marks. One that is wrong is left out of the answer. */
  mark?: number | string | null;
  /** All that is kept under this name (`POST /api/kept`); one at most, of weight 1. */
  kept?: string | null;
  /** Of `like`: the part of the picture that is asked with: left, top, right and bottom, in shares of the upright picture. */
  box?: Array<number> | null;
  /** A negative one leads away from it. */
  weight?: number;
}

/** A picture that was sent, to be asked with by its content hash. */
export interface PictureBody {
  picture: string;
  width: number;
  height: number;
  in_gallery: boolean;
}

/**
 * Pictures that were taken near to each other: the middle of where, in degrees, how many, the row id of one of
 * them, and the part of the world that all of them lie in.
 */
export interface PlaceBody {
  lat: number;
  lon: number;
  count: number;
  row_id: number;
  south: number;
  west: number;
  north: number;
  east: number;
}

/** Places, the one with most pictures first. */
export interface PlacesBody {
  places: Array<PlaceBody>;
  version: number;
}

/** Several queries, answered together. */
export interface QueriesBody {
  queries: Array<QueryBody>;
}

/** A query to the gallery. */
export interface QueryBody {
  parts: Array<PartBody>;
  /** How many hits. */
  k?: number;
  /** Pass over so many of the best. */
  offset?: number;
  table?: "images" | "captions" | "both";
  /** An SQL expression over the columns of the table. */
  where?: string | null;
  /** Only pictures that were taken near a place, as "Lisbon 20km". */
  near?: string | null;
  min_score?: number | null;
  /** The gallery has to be calibrated. */
  min_probability?: number | null;
  /** Leave out hits with this cosine to a better one; true for 0.97. */
  distinct?: boolean | number | null;
  /** Correct hits for hubs as that was seen to help, also unmeasured, or not at all. */
  correct?: "measured" | "general" | "none";
  /** date: newest first, of what is likely relevant. The gallery has to be calibrated. */
  sort?: "rank" | "date";
  /** The re-ranker of the server, as GET /api/gallery names it, or true. It looks at the best for a text. */
  rerank?: string | boolean | null;
  /** What it ranks by. */
  rerank_by?: "logit" | "logit+score";
  /** How many of the best it looks at. */
  depth?: number;
  /** Seconds in which it looks at them. */
  within?: number;
  /** Every moment of a film, page and tile of a file is a hit; else the best of a file is one. */
  each?: boolean;
  /** Rank films by their best frame, or by the mean of all of their frames. */
  per_video?: "max" | "mean";
  /** Each text is put in the place of {} in each. */
  templates?: Array<string>;
  /** Its name among others. For the client. */
  id?: string;
  /** What the answer calls it; by default its parts. */
  title?: string;
}

/**
 * Where in a picture a phrase is seen: box as left, top, right, bottom in shares of the upright picture, peak the x
 * and y that speak most, heat by rows the fall of the phrase's score where its surroundings are hidden, over the whole
 * picture; all null where no place stands out. score: of the phrase alone. fall, phrase_fall: by how much the scores
 * of all that is asked and of the phrase fall where the box is hidden. text_fall: by how much the score falls where
 * the phrase is left out of the text; null where it is no piece of it. preview: whether the place is that of a
 * preview.
 */
export interface RegionBody {
  phrase: string;
  box: Array<number> | null;
  peak: Array<number> | null;
  score: number;
  fall: number;
  phrase_fall: number;
  text_fall: number | null;
  stands_out: number;
  fits: number | null;
  preview: boolean;
  heat: Array<Array<number>> | null;
}

/** A folder whose pictures the gallery holds. */
export interface RootBody {
  id: number;
  path: string;
}

/** Row ids of pictures. */
export interface RowIdsBody {
  row_ids: Array<number>;
  version: number;
}

/** Pictures from all over the gallery, and some of its captions: examples of what can be asked. */
export interface SampleBody {
  hits: Array<SampledBody>;
  captions: Array<string>;
  version: number;
}

/** A picture that nobody asked for. */
export interface SampledBody {
  rank: number;
  score: null;
  row_id: number;
  path: string | null;
  file: string | null;
  width?: number | null;
  height?: number | null;
  taken_at?: string | null;
  gone: boolean;
  damaged?: boolean | null;
  path_bytes: string | null;
  file_bytes: string | null;
  taken_from?: string | null;
  utc_offset?: number | null;
  camera?: string | null;
  lens?: string | null;
  lat?: number | null;
  lon?: number | null;
  city?: string | null;
  country?: string | null;
  title?: string | null;
  keywords?: Array<string> | null;
  rating?: number | null;
  files?: Array<string> | null;
  caption?: string | null;
  guessed_by?: string | null;
  image?: number | null;
  start_s?: number | null;
  end_s?: number | null;
  page?: number | null;
  box?: Array<number> | null;
  from_s?: number | null;
  to_s?: number | null;
  mean?: number | null;
  corrected?: number | null;
  probability?: number | null;
  z?: number | null;
  rerank?: number | null;
  table?: string | null;
}

/** How many pictures there are of each month, newest first, those without a date last. */
export interface TimelineBody {
  months: Array<MonthBody>;
  version: number;
}

/** Some pictures of the timeline, in its order; the rank of the first of all is 1. */
export interface TimelinePicturesBody {
  hits: Array<SampledBody>;
  version: number;
}

/** A zip that can be asked for. pictures: that it will hold; bytes: of these, as far as they are known. */
export interface ZipBody {
  zip: string;
  pictures: number;
  bytes: number;
}

/** What each route answers, where that is JSON. */
export interface Answers {
  "GET /api/facets/{facet}": FacetBody;
  "POST /api/files": FilesBody;
  "GET /api/folders": FoldersBody;
  "GET /api/gallery": GalleryBody;
  "GET /api/images/{row_id}": ImageBody;
  "POST /api/images/{row_id}/regions": ExplanationBody;
  "GET /api/kept": KeptBody;
  "POST /api/kept": KeptBody;
  "DELETE /api/kept/{name}": KeptBody;
  "POST /api/pictures": PictureBody;
  "GET /api/places": PlacesBody;
  "POST /api/queries": AnswersBody;
  "POST /api/query": AnswerBody;
  "GET /api/sample": SampleBody;
  "GET /api/timeline": TimelineBody;
  "GET /api/timeline/pictures": TimelinePicturesBody;
  "GET /api/timeline/rows": RowIdsBody;
  "POST /api/zips": ZipBody;
  "GET /health": HealthBody;
}
