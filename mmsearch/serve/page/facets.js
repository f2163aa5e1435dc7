/**
 * What pictures can be told apart by. A facet is shown where the gallery has values for it.
 *
 * @typedef {{name: string, title: string, counts: string, called: (value: string) => string, sql: (value: string) => string,
 *   ordered: boolean}} Facet  name: in addresses. counts: what the server counts for it. called: what a value of those is
 *   called; those of one name are one. sql: which pictures have a value. ordered: by values, the highest first, and not by
 *   how many have them.
 */

const KINDS = /** @type {Record<string, string[]>} */ ({
  JPEG: ["jpg", "jpeg", "jpe", "jfif"],
  HEIC: ["heic", "heif", "hif"],
  TIFF: ["tif", "tiff"],
  "JPEG XL": ["jxl"],
  WebP: ["webp"],
  RAW: ["dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "raf", "rw2", "orf", "pef", "srw", "x3f", "raw"],
  Film: ["mp4", "mov", "m4v", "avi", "mkv", "webm", "mts", "3gp"],
});
const KIND_OF = new Map(Object.entries(KINDS).flatMap(([kind, suffixes]) => suffixes.map((suffix) => [suffix, kind])));

/**
 * A text as SQL writes it.
 * @param {string} text
 */
export const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

/** @param {string} name of a column @param {string} title @returns {Facet} */
function ofColumn(name, title) {
  return { name, title, counts: name, called: (value) => value, sql: (value) => `${name} = ${quoted(value)}`, ordered: false };
}

/** @type {readonly Facet[]} */
export const FACETS = [
  { ...ofColumn("year", "Year"), sql: (value) => `year(taken_at) = ${Math.trunc(Number(value)) || 0}`, ordered: true },
  ofColumn("country", "Country"),
  ofColumn("city", "City"),
  ofColumn("camera", "Camera"),
  ofColumn("lens", "Lens"),
  { ...ofColumn("rating", "Rating"), sql: (value) => `rating = ${Number(value) || 0}`, ordered: true },
  { ...ofColumn("kind", "Kind"), counts: "suffix", called: kindOf, sql: kindSql },
];

/** @param {string} suffix */
function kindOf(suffix) {
  return KIND_OF.get(suffix) ?? suffix.toUpperCase();
}

/** @param {string} kind */
function kindSql(kind) {
  const suffixes = KINDS[kind] ?? [kind.toLowerCase().replace(/[^a-z0-9]/g, "")];
  return `regexp_matches(lower(path), '\\.(${suffixes.join("|")})(!/[a-z_]+=[^/]*)?$')`; // of a piece of a file: that of the file
}

/**
 * The values of a facet by what they are called, in the order in which they are offered.
 * @param {Facet} facet
 * @param {readonly import("./api.js").FacetValue[]} values as the server counted them
 * @param {readonly string[]} chosen
 * @returns {{value: string, count: number}[]}
 */
export function offered(facet, values, chosen) {
  const counts = new Map(chosen.map((value) => [value, 0]));
  for (const { value, count } of values) counts.set(facet.called(value), (counts.get(facet.called(value)) ?? 0) + count);
  const all = [...counts].map(([value, count]) => ({ value, count }));
  return all.sort((one, other) => (facet.ordered ? Number(other.value) - Number(one.value) : other.count - one.count || (one.value < other.value ? -1 : 1)));
}
