// A classic script, run before the first paint, so that a dark page never flashes light.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("mmsearch-theme");
  } catch {
    // storage is forbidden: the system's theme it is
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
