/** What can be done with the pictures that were chosen: their files downloaded as one zip, their paths copied. */
import * as api from "./api.js";
import { copyText } from "./clipboard.js";
import { byId, element } from "./elements.js";
import { complain, toast } from "./notices.js";
import { counted, shown, size } from "./text.js";

/**
 * @param {() => ReadonlySet<number>} chosen
 * @param {(error: unknown) => void} failed
 */
export function offerActions(chosen, failed) {
  const offer = (/** @type {string} */ id, /** @type {(rows: number[]) => Promise<void>} */ act) => {
    const button = byId(id, HTMLButtonElement);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await act([...chosen()]);
      } catch (error) {
        failed(error);
      } finally {
        button.disabled = false;
      }
    });
  };
  offer("selection-zip", downloadZip);
  offer("selection-paths", copyPaths);
}

/** @param {number[]} rows */
async function downloadZip(rows) {
  const { zip, pictures, bytes } = await api.chooseZip(rows);
  const link = element("a", { href: api.zip(zip), download: "pictures.zip" });
  link.click(); // the browser writes it to the disk as it comes: it may be larger than the memory
  toast(`${counted(pictures, "picture")} on their way${bytes ? `: ${size(bytes)}` : ""}`);
}

/** @param {number[]} rows */
async function copyPaths(rows) {
  const { files } = await api.files(rows);
  const paths = files.flatMap((file) => (file === null ? [] : [shown(file)]));
  const copied = paths.length > 0 && (await copyText(paths.join("\n"), document.body));
  if (copied) toast(`${counted(paths.length, "path")} copied`);
  else complain("The browser does not let the paths be copied.");
}
