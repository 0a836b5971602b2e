// A link to a part of the page unfolds it; on paper everything is unfolded.
function unfold() {
  const part = location.hash && !location.hash.includes("=") ? document.getElementById(location.hash.slice(1)) : null;
  const fold = part?.closest("details.fold");
  if (!fold || fold.open) return;
  fold.open = true;
  fold.scrollIntoView();
}

window.addEventListener("hashchange", unfold);
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details.fold")) fold.open = true;
});
for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(unfold)); // again, too
unfold();
