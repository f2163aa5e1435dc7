/** Light, dark, or as the system has it: a button that goes round, and remembers. */
import { byId } from "./elements.js";
import { toast } from "./notices.js";

const KEY = "mmsearch-theme";
const NEXT = /** @type {Record<string, string>} */ ({ "": "light", light: "dark", dark: "" });
const ICONS = /** @type {Record<string, string>} */ ({ "": "theme", light: "sun", dark: "moon" });
const NAMES = /** @type {Record<string, string>} */ ({ "": "as the system", light: "light", dark: "dark" });

export function offerThemes() {
  const button = byId("theme", HTMLButtonElement);
  const page = document.documentElement;
  const show = () => {
    const theme = page.dataset.theme ?? "";
    byId("theme-icon", SVGUseElement).setAttribute("href", `#i-${ICONS[theme]}`);
    button.title = `Appearance: ${NAMES[theme]}`;
    button.setAttribute("aria-label", `Appearance: ${NAMES[theme]}. Press for ${NAMES[NEXT[theme] ?? ""]}`);
  };
  button.addEventListener("click", () => {
    const theme = NEXT[page.dataset.theme ?? ""] ?? "";
    if (theme) page.dataset.theme = theme;
    else delete page.dataset.theme;
    try {
      if (theme) localStorage.setItem(KEY, theme);
      else localStorage.removeItem(KEY);
    } catch {
      // storage is forbidden: it holds until the page is left
    }
    show();
    toast(`Appearance: ${NAMES[theme]}`);
  });
  show();
}
