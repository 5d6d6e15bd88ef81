// Light or dark: what the system says, until the reader chooses. Loaded before the page is painted.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try {
      return localStorage.getItem("ditbench-theme");
    } catch {
      return null; // storage is off
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem("ditbench-theme", theme);
    } catch {
      // then it lasts as long as the page
    }
  };
  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => window.dispatchEvent(new Event("ditbench-theme"));

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      tell();
    });
    dark.addEventListener("change", tell);
    window.addEventListener("ditbench-theme", show);
    show();
  });
})();
