// One case, large: image with contours, uncertainty, expected error; the arrow keys go on to the next, up and down
// through the slices of a volume.
const viewer = document.getElementById("viewer");
const panels = document.getElementById("panels");
let listed = []; // the cases as they are filtered and ordered
const slice = document.getElementById("slice");
let current = -1;

function panel(box, text, ramp, ends) {
  const figure = make("figure");
  const caption = make("figcaption", "", text);
  if (ramp) {
    caption.append(`: ${ends[0]}`, make("i", `ramp ${ramp}`), ends[1]);
  }
  figure.append(box, caption);
  return figure;
}

function showCase(index) {
  if (index < 0 || index >= listed.length) return;
  current = index;
  const one = listed[index];
  document.getElementById("viewer-id").textContent = one.name;
  document.getElementById("viewer-place").textContent = `${index + 1} of ${listed.length}`;
  document.getElementById("previous").disabled = index === 0;
  document.getElementById("next").disabled = index === listed.length - 1;
  document.getElementById("slices").hidden = !one.slices;
  if (one.slices) {
    slice.max = one.slices.length - 1;
    showSlice(one.slice);
  } else {
    showPanels(one);
  }
  const facts = make("p", "remark", [`image ${one.image_id}`, `record ${one.id}`, one.kind, ...one.facts].filter(Boolean).join(" · "));
  document.getElementById("viewer-facts").replaceChildren(numbers(one), scale(one), verdictMark(one), facts);
  const truth = Boolean(one.truth ?? one.slices?.some((part) => part.truth));
  document.getElementById("truth-label").hidden = !truth;
  if (run) showDeciding(one);
  if (!viewer.open) viewer.showModal();
  viewer.focus();
}

function decide(decision) { // and on to the next case
  change(listed[current], { decision });
  if (current + 1 < listed.length) showCase(current + 1);
}

function undoHere() {
  const one = undo();
  if (one && listed.includes(one)) showCase(listed.indexOf(one));
}

function showSlice(index) {
  const one = listed[current];
  if (!one?.slices || index < 0 || index >= one.slices.length) return;
  slice.value = index;
  slice.setAttribute("aria-valuetext", one.slices[index].place);
  document.getElementById("slice-place").textContent = one.slices[index].place;
  showPanels({ ...one, ...one.slices[index] });
}

function showPanels(one) {
  panels.replaceChildren(panel(outlined(one), one.truth === null ? "image and mask" : "image, mask and truth"));
  const measure = `uncertainty, as ${one.measure}`;
  if (one.uncertainty) panels.append(panel(map(one, "uncertainty"), measure, "uncertainty", ["low", "high"]));
  if (one.error) panels.append(panel(map(one, "error"), WRONG, "error", ["unlikely", "likely"]));
}

function contoursShown(name, shown = document.getElementById(`show-${name}`).checked) {
  document.getElementById(`show-${name}`).checked = shown;
  panels.classList.toggle(`no-${name}`, !shown);
}

document.getElementById("previous").addEventListener("click", () => showCase(current - 1));
document.getElementById("next").addEventListener("click", () => showCase(current + 1));
slice.addEventListener("input", () => showSlice(Number(slice.value)));
panels.addEventListener("wheel", (event) => {
  if (!listed[current]?.slices || event.ctrlKey) return;
  event.preventDefault();
  showSlice(Number(slice.value) - Math.sign(event.deltaY));
}, { passive: false });
for (const button of document.querySelectorAll("[data-decision]")) {
  button.addEventListener("click", () => decide(button.dataset.decision));
}
document.getElementById("undo-here").addEventListener("click", undoHere);
function keepNote() {
  const [one, note] = [listed[current], noteField.value.trim()];
  if (run && one && decidable(one) && note !== (review.decisions[one.id]?.note ?? "")) change(one, { note });
}

noteField.addEventListener("change", keepNote);
viewer.addEventListener("close", keepNote);
noteField.addEventListener("keydown", (event) => {
  event.stopPropagation(); // letters are words here
  if (event.key === "Enter") viewer.focus();
});
document.getElementById("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
for (const name of ["mask", "truth"]) {
  document.getElementById(`show-${name}`).addEventListener("change", () => contoursShown(name));
}
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const keys = {
    ArrowLeft: () => showCase(current - 1), k: () => showCase(current - 1),
    ArrowRight: () => showCase(current + 1), j: () => showCase(current + 1),
    m: () => contoursShown("mask", !document.getElementById("show-mask").checked),
    t: () => contoursShown("truth", !document.getElementById("show-truth").checked),
  };
  if (decidable(listed[current])) {
    for (const [key, decision] of Object.entries(KEYS)) keys[key] = () => decide(decision);
    keys.n = () => noteField.focus();
  }
  if (run) keys.u = undoHere;
  if (listed[current]?.slices) {
    keys.ArrowUp = () => showSlice(Number(slice.value) + 1);
    keys.ArrowDown = () => showSlice(Number(slice.value) - 1);
  }
  if (event.target === slice && ["ArrowLeft", "ArrowRight"].includes(event.key)) return; // the slider's own
  if (event.key in keys) {
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }
});
