// The theme: the system's, light, or dark. A script of its own in the head, so that the page never flashes in the other one.
(() => {
  const NAMES = ["automatic", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "automatic";
  try {
    const kept = localStorage.getItem("theme");
    if (NAMES.includes(kept)) chosen = kept;
  } catch {
    // Without storage the choice lasts as long as the page.
  }

  function apply() {
    const theme = chosen === "automatic" ? (system.matches ? "dark" : "light") : chosen;
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${chosen}`;
    document.dispatchEvent(new Event("themechange"));
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = NAMES[(NAMES.indexOf(chosen) + 1) % NAMES.length];
      try {
        localStorage.setItem("theme", chosen);
      } catch {
        // As above.
      }
      apply();
    });
  });
})();
