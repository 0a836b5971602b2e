// Light, dark, or as the system: a button goes round, and the choice is kept where the browser lets a file keep one.
const THEMES = { "": "as the system", light: "light", dark: "dark" };
const themeButton = document.getElementById("theme");

function useTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  themeButton.textContent = `theme: ${THEMES[name]}`;
  try { localStorage.setItem("sqp-theme", name); } catch { /* a file without storage: the choice is for now */ }
}

function keptTheme() {
  try { return localStorage.getItem("sqp-theme") ?? ""; } catch { return ""; }
}

themeButton.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  useTheme(names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length]);
});
useTheme(keptTheme() in THEMES ? keptTheme() : "");
