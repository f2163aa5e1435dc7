/**
 * What the page says about the gallery: on the start page, and beside the keys.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 */
import { byId, say } from "./elements.js";
import { counted, shown } from "./text.js";

/**
 * Fills the start page.
 * @param {Gallery} gallery
 */
export function introduce(gallery) {
  const name = shown(gallery.name);
  byId("home-name", HTMLElement).textContent = name;
  byId("start-name", HTMLElement).textContent = name;
  byId("start-lead", HTMLElement).textContent = gallery.answers_text
    ? "Describe what you are looking for, or drop a picture anywhere to find others like it."
    : "Drop, paste or choose a picture to find others like it.";
  byId("start-facts", HTMLElement).textContent = `${contentsOf(gallery)} · ${shown(gallery.encoder.spec)}`;
  say(byId("start-caution", HTMLElement), cautionOf(gallery));
}

/**
 * Terms and what is to be said of each.
 * @param {Gallery} gallery
 */
export function factsOf(gallery) {
  const { spec, dim, declared } = gallery.encoder;
  const indexes = gallery.indexes.map(({ table, factory }) => `${table}: ${shown(factory)}`);
  const facts = /** @type {[string, string][]} */ ([
    ["Name", shown(gallery.name)],
    ["Holds", contentsOf(gallery)],
    ["Model", `${shown(spec)}, dimension ${dim}${declared ? " (declared, not checked)" : ""}`],
    ["Index", indexes.join("; ") || "none: every picture is scored"],
    ["Folders", gallery.roots.map((root) => shown(root.path)).join(", ")],
    ["Remark", cautionOf(gallery)],
    ["Version", `${gallery.version} of the gallery, mmsearch ${shown(gallery.mmsearch)}`],
  ]);
  return facts.filter(([, value]) => value);
}

/** @param {Gallery} gallery */
function contentsOf(gallery) {
  const captions = gallery.captions ? ` · ${counted(gallery.captions, "caption")}` : "";
  return `${counted(gallery.images, "picture")}${captions}`;
}

/** @param {Gallery} gallery */
function cautionOf(gallery) {
  const { spec, declared } = gallery.encoder;
  if (spec === "demo") return "The bundled demo model knows drawn postcards and nothing else: on other pictures its answers mean nothing.";
  if (declared) return `That these are vectors of ${shown(spec)} was declared and is not checked.`;
  return shown(gallery.text_problem ?? "");
}
