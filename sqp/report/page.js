"use strict";
const form = document.getElementById("filter");
if (form) {
  const cards = [...document.querySelectorAll("#cards article")];
  const verdict = document.getElementById("verdict");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const apply = () => {
    const part = search.value.trim().toLowerCase();
    let count = 0;
    for (const card of cards) {
      const fits = (!verdict.value || card.dataset.verdict === verdict.value)
        && card.dataset.id.toLowerCase().includes(part);
      card.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${cards.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
