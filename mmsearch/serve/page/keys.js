/** Keys that hold anywhere on the page, and the list of all of them. */
import { byId, element } from "./elements.js";

/** What the help says: keys, and what they do. */
const KEYS = /** @type {[string[], string][]} */ ([
  [["/"], "to the search box"],
  [["↑", "↓", "←", "→"], "from picture to picture; ↓ goes from the box to them"],
  [["Enter"], "search; open a picture"],
  [["m"], "more like this"],
  [["x"], "choose it, one of several; Shift and a press: all up to it"],
  [["Ctrl", "A"], "choose all"],
  [["y", "n", "u"], "this is right, this is wrong: the answer learns from it; take the last mark back"],
  [["w"], "where in the picture it is seen (large view)"],
  [["b"], "draw a box around a part of it, to look for more like that (large view)"],
  [["c"], "copy the path (large view)"],
  [["z"], "the picture's own pixels (large view)"],
  [["o"], "open the original (large view)"],
  [["s"], "slide show; there: Space stops it, + and − change its pace"],
  [["d"], "scores on the pictures, or not"],
  [["t"], "all pictures by month"],
  [["p"], "the map, where places are known; there + and −, and arrows"],
  [["f"], "filters, folders, years, places"],
  [["Esc"], "close; empty the box"],
  [["?"], "these keys"],
]);

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && Boolean(target.closest("input:not([type=radio], [type=checkbox]), textarea, select"));
}

/**
 * @param {Record<string, () => void>} does what each key does
 * @param {() => void} arrow a down arrow outside of everything
 * @param {() => void} all Ctrl or Cmd with A
 */
export function listen(does, arrow, all) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "a" || event.shiftKey) return;
      event.preventDefault();
      return all();
    }
    const nowhere = document.activeElement === document.body || document.activeElement === null;
    const act = event.key === "ArrowDown" && nowhere ? arrow : does[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** The sheet that lists the keys. */
export class Help {
  #dialog = byId("help", HTMLDialogElement);

  constructor() {
    byId("help-button", HTMLButtonElement).addEventListener("click", () => this.open());
    byId("help-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    const rows = KEYS.map(([keys, what]) =>
      element("div", {}, element("dt", {}, ...keys.map((key) => element("kbd", {}, key))), element("dd", {}, what)),
    );
    byId("keys", HTMLElement).replaceChildren(...rows);
  }

  open() {
    this.#dialog.showModal();
  }

  /** @param {[string, string][]} facts of the gallery */
  about(facts) {
    const rows = facts.map(([term, value]) =>
      element("div", {}, element("dt", {}, term), element("dd", { dir: "auto" }, value)),
    );
    byId("about", HTMLElement).replaceChildren(...rows);
  }
}
