// A review that is kept: a decision and a note a case, undo, in this browser's storage and as a file; sent nowhere.
const run = JSON.parse(document.getElementById("run").textContent); // null: no review is kept on this page
const cases = JSON.parse(document.getElementById("cases").textContent);
const DECISIONS = { accept: "✓", fix: "✎", reject: "✗" };
const KEYS = { a: "accept", f: "fix", r: "reject" };
const MOST_UNDONE = 500;
const byId = new Map(cases.map((one) => [one.id, one]));
const noteField = document.getElementById("note");
let review = { decisions: {}, past: [] }; // record id -> decision; what was there before each change, latest last
let stored = true;

const decisionOf = (one) => review.decisions[one.id]?.decision ?? null;
const decidable = (one) => run !== null && one.mask_hash !== "";

function keepReview() {
  try {
    localStorage.setItem(`sqp-review-${run.run}`, JSON.stringify(review));
    stored = true;
  } catch { stored = false; }
}

function keptReview() { // decisions on masks that are others today are forgotten
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(`sqp-review-${run.run}`)); } catch { /* without storage, or damaged */ }
  if (typeof kept?.decisions !== "object" || kept.decisions === null || !Array.isArray(kept.past)) return;
  const same = (id, was) => !byId.has(id) || byId.get(id).mask_hash === was?.mask_hash;
  review.decisions = Object.fromEntries(Object.entries(kept.decisions).filter(([id, was]) => same(id, was)));
  review.past = kept.past.filter((step) => Array.isArray(step) && (step[1] === null || same(...step)));
}

function change(one, what) {
  if (!decidable(one)) return;
  const before = review.decisions[one.id] ?? null;
  review.past = [...review.past, [one.id, before]].slice(-MOST_UNDONE);
  const start = before ?? { record_id: one.id, image_id: one.image_id, mask_hash: one.mask_hash, decision: null, note: "" };
  review.decisions[one.id] = { ...start, ...what, time: new Date().toISOString() };
  keepReview();
  showReview(one);
}

function undo() {
  const last = review.past.pop();
  if (!last) return null;
  const [id, before] = last;
  if (before === null) delete review.decisions[id];
  else review.decisions[id] = before;
  keepReview();
  const one = byId.get(id) ?? null;
  showReview(one);
  return one;
}

function decisionMark(one) { // what stands on the card
  const was = review.decisions[one.id];
  const mark = make("span", `mine ${decisionOf(one) ?? ""}`);
  const decision = decisionOf(one);
  mark.textContent = [decision && `you: ${DECISIONS[decision]} ${decision}`, was?.note && `note: ${was.note}`].filter(Boolean).join(" · ");
  return mark;
}

function showReview(one = null) {
  if (!run) return;
  const decided = cases.filter((other) => decisionOf(other) !== null);
  const count = (part) => Object.keys(DECISIONS).map((name) => [part.filter((other) => decisionOf(other) === name).length, name])
    .filter(([n]) => n).map(([n, name]) => `${n} ${name}`).join(", ");
  const drawn = cases.filter((other) => other.audit);
  const audited = decided.filter((other) => other.audit);
  const said = [`${decided.length} of ${cases.length} decided${decided.length ? ` (${count(decided)})` : ""}`];
  if (drawn.length) said.push(`audit: ${audited.length} of ${drawn.length}`);
  document.getElementById("decided").textContent = said.join(" · ");
  const progress = document.getElementById("progress");
  progress.max = Math.max(1, (drawn.length ? drawn : cases).length);
  progress.value = (drawn.length ? audited : decided).length;
  for (const id of ["undo", "undo-here"]) document.getElementById(id).disabled = review.past.length === 0;
  if (!stored) sayReview("This browser keeps nothing for files: save the decisions before you close the page.");
  if (!one) return;
  one.mark?.replaceWith(one.mark = decisionMark(one));
  if (typeof listed[current] === "object" && listed[current].id === one.id) showDeciding(one);
}

function showDeciding(one) { // in the opened case
  document.getElementById("deciding").hidden = !decidable(one);
  if (!decidable(one)) return;
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(button.dataset.decision === decisionOf(one)));
  }
  noteField.value = review.decisions[one.id]?.note ?? "";
  document.getElementById("decided-here").textContent = document.getElementById("decided").textContent;
}

function sayReview(text) {
  document.getElementById("review-said").textContent = text;
}

function saveDecisions() {
  const decisions = Object.values(review.decisions).filter((was) => was.decision !== null || was.note !== "");
  const { schema, threshold } = run;
  const content = { schema, run: run.run, threshold, saved: new Date().toISOString(), decisions };
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  sayReview(`Saved ${decisions.length} as decisions.json, where your browser keeps downloads.`);
}

function readDecisions(text, name) {
  let content = null;
  try { content = JSON.parse(text); } catch { /* told below */ }
  if (content?.schema !== run.schema || !Array.isArray(content?.decisions)) {
    return sayReview(`${name} is no file of decisions of this sqp (${run.schema}): nothing was opened.`);
  }
  let [taken, others, older] = [0, 0, 0];
  for (const was of content.decisions) {
    const one = byId.get(was?.record_id);
    const texts = ["record_id", "mask_hash", "note", "time"].every((key) => typeof was?.[key] === "string");
    const kind = was?.decision === null || Object.hasOwn(DECISIONS, was?.decision ?? "");
    const ours = one ? one.mask_hash === was.mask_hash : content.run === run.run; // of the run, but not shown here
    if (!texts || !kind || !ours) {
      others += 1;
    } else if ((review.decisions[was.record_id]?.time ?? "") > was.time) {
      older += 1;
    } else {
      const { record_id, image_id, mask_hash, decision, note, time } = was;
      review.decisions[record_id] = { record_id, image_id, mask_hash, decision, note, time };
      taken += 1;
    }
  }
  review.past = [];
  keepReview();
  for (const one of cases) showMark(one);
  showReview();
  const left = [others && `${others} of other masks were left out`, older && `${older} are older than yours`].filter(Boolean);
  return sayReview([`Opened ${taken} decisions of ${name}`, ...left].join("; ") + (content.threshold === run.threshold ? "."
    : `. Careful: there accept meant a Dice of ${content.threshold}.`));
}

function showMark(one) {
  one.mark?.replaceWith(one.mark = decisionMark(one));
}

if (run) {
  keptReview();
  document.getElementById("accept-means").textContent = run.threshold.toFixed(2);
  document.getElementById("save").addEventListener("click", saveDecisions);
  const file = document.getElementById("decisions-file");
  document.getElementById("open-decisions").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    if (file.files.length) readDecisions(await file.files[0].text(), file.files[0].name);
    file.value = "";
  });
}
