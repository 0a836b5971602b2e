// All cases: filters, search and order; cards are made as the reader scrolls, so that thousands cost nothing.
const STEP = 48;
const ORDERS = {
  "worst predicted first": null, // as they come: abstentions, then the lowest prediction
  "best predicted first": (one) => -(one.predicted_dice ?? -1),
  "largest error first": (one) => (one.dice === null || one.predicted_dice === null ? 2 : -Math.abs(one.dice - one.predicted_dice)),
  "lowest true Dice first": (one) => one.dice ?? 2,
  "widest interval first": (one) => (one.low === null || one.high === null ? 2 : one.low - one.high),
  random: (one) => one.chance, // the same for everybody: a part of the cases from its top is a fair sample
};
const MINE = {
  "": ["all", () => true],
  open: ["not decided", (one) => decisionOf(one) === null],
  audit: ["drawn for the audit", (one) => one.audit],
  accept: ["accepted", (one) => decisionOf(one) === "accept"],
  fix: ["to be fixed", (one) => decisionOf(one) === "fix"],
  reject: ["rejected", (one) => decisionOf(one) === "reject"],
};

function chance(text) { // FNV-1a, mixed: a number that nothing but chance ties to a name
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507);
  return (hash ^ (hash >>> 13)) >>> 0;
}
for (const one of cases) if (one.slices) Object.assign(one, one.slices[one.slice]); // what a card shows of a volume
const cards = document.getElementById("cards");
const kind = document.getElementById("kind");
const order = document.getElementById("order");
const mine = document.getElementById("mine");
const search = document.getElementById("search");
const button = (index) => cards.children[index]?.firstElementChild;

const end = document.getElementById("more");
const watch = new IntersectionObserver((seen) => {
  if (!seen.some((entry) => entry.isIntersecting) || cards.children.length >= listed.length) return;
  more();
  lookAgain();
}, { rootMargin: "800px" });

function lookAgain() { // an observer tells of changes only: start anew, the end may still be in sight
  watch.unobserve(end);
  watch.observe(end);
}

function chosenVerdict() {
  return document.querySelector("#verdicts input:checked")?.value ?? "";
}

function more() {
  for (const one of listed.slice(cards.children.length, cards.children.length + STEP)) {
    const index = cards.children.length;
    cards.append(card(one, () => showCase(index)));
  }
}

function apply() {
  const part = search.value.trim().toLowerCase();
  listed = cases.filter((one) => (!chosenVerdict() || one.verdict === chosenVerdict())
    && (!kind.value || one.kind === kind.value)
    && (MINE[mine.value] ?? MINE[""])[1](one)
    && `${one.name} ${one.id} ${one.image_id}`.toLowerCase().includes(part));
  const key = ORDERS[order.value];
  if (key) listed.sort((a, b) => key(a) - key(b));
  cards.replaceChildren();
  more();
  lookAgain();
  document.getElementById("shown").textContent = `${listed.length} of ${cases.length} cases`;
  document.getElementById("nothing").hidden = listed.length > 0;
  const asked = chosenVerdict() || mine.value || kind.value || order.selectedIndex > 0 || search.value.trim();
  document.getElementById("clear").hidden = !asked;
  keepPlace();
}

// Filter and order live in the address, after the #, so that a link or a reload shows the same.
function keepPlace() {
  const place = new URLSearchParams();
  const set = (name, value) => { if (value) place.set(name, value); };
  set("verdict", chosenVerdict());
  set("mine", mine.value);
  set("kind", kind.value);
  set("order", order.selectedIndex > 0 ? order.value : "");
  set("name", search.value.trim());
  if (moved) for (const name of ["accept", "reject"]) place.set(name, (moved[name] / 100).toFixed(2));
  const text = place.toString();
  if (!text && !location.hash.includes("=")) return; // a link to a part of the page stays
  try { history.replaceState(null, "", `#${text}`); } catch { /* a page in a frame that may not: it is for now */ }
}

function readPlace() {
  const place = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const choose = (select, value) => { if ([...select.options].some((one) => one.value === value)) select.value = value; };
  const verdicts = [...document.querySelectorAll("#verdicts input")];
  (verdicts.find((one) => one.value === (place.get("verdict") ?? "")) ?? verdicts[0]).checked = true;
  mine.value = kind.value = "";
  order.selectedIndex = 0;
  choose(mine, place.get("mine"));
  choose(kind, place.get("kind"));
  choose(order, place.get("order"));
  search.value = place.get("name") ?? "";
  if (run) readThresholds(place);
}

function showCounts() { // beside the names of the verdicts
  for (const input of document.querySelectorAll("#verdicts input")) {
    const name = input.value;
    if (name) input.nextSibling.textContent = `${SIGNS[name]} ${name} (${cases.filter((one) => one.verdict === name).length})`;
  }
}

function showAll() {
  search.value = kind.value = mine.value = "";
  document.querySelector("#verdicts input").checked = true;
  order.selectedIndex = 0;
  apply();
}

function option(select, value, text) {
  const element = make("option", "", text);
  element.value = value;
  select.append(element);
}

function radio(value, text) {
  const label = make("label", value);
  const input = make("input");
  Object.assign(input, { type: "radio", name: "verdict", value, checked: value === "" });
  label.append(input, text);
  document.getElementById("verdicts").append(label);
}

function goTo(index) {
  while (index >= cards.children.length && cards.children.length < listed.length) more();
  button(Math.max(0, Math.min(index, listed.length - 1)))?.focus();
}

function undoOnPage() {
  const one = undo();
  if (one && listed.includes(one)) goTo(listed.indexOf(one));
}

function columns() {
  const tops = [...cards.children].slice(0, 12).map((item) => item.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=radio], [type=range]), select");
  if (event.ctrlKey || event.altKey || event.metaKey || viewer.open || typing) return;
  if (event.key === "/") {
    event.preventDefault();
    search.focus();
    return;
  }
  const at = event.target.classList.contains("card") ? [...cards.children].indexOf(event.target.parentElement) : -1;
  if (run && event.key === "u") undoOnPage();
  if (at >= 0 && run && event.key in KEYS && decidable(listed[at])) {
    event.preventDefault();
    change(listed[at], { decision: KEYS[event.key] });
    goTo(at + 1);
    return;
  }
  if (at >= 0 && run && event.key === "n") {
    event.preventDefault();
    showCase(at);
    noteField.focus();
    return;
  }
  const steps = { j: 1, k: -1 };
  if (at >= 0) Object.assign(steps, { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() });
  if (event.key in steps) {
    event.preventDefault();
    goTo(at < 0 ? 0 : at + steps[event.key]);
  }
}

if (cases.length) {
  for (const one of cases) one.chance = chance(one.id);
  radio("", "all");
  for (const name of Object.keys(SIGNS)) radio(name, name);
  showCounts();
  for (const [value, [text]] of Object.entries(MINE)) {
    if (value !== "audit" || cases.some((one) => one.audit)) option(mine, value, text);
  }
  const kinds = [...new Set(cases.map((one) => one.kind))].filter(Boolean).sort();
  option(kind, "", "all");
  for (const name of kinds) option(kind, name, name);
  document.getElementById("kind-label").hidden = kinds.length < 2;
  const known = cases.some((one) => one.dice !== null);
  for (const name of Object.keys(ORDERS)) {
    if (known || !/true|error/.test(name)) option(order, name, name);
  }
  for (const id of ["controls", "keys", "legend"]) document.getElementById(id).hidden = false;
  for (const name of ["uncertainty", "error"]) { // the maps of the cards
    document.getElementById(`key-${name}`).hidden = !cases.some((one) => shownMap(one) === name);
  }
  const truth = known || cases.some((one) => one.truth);
  for (const part of document.querySelectorAll(".of-truth, #truth-key")) part.hidden = !truth;
  for (const id of ["review", "thresholds", "mine-label", "review-keys"]) document.getElementById(id).hidden = !run;
  document.getElementById("undo").addEventListener("click", undoOnPage);
  document.getElementById("controls").addEventListener("input", apply);
  for (const id of ["clear", "show-all"]) document.getElementById(id).addEventListener("click", showAll);
  document.addEventListener("keydown", onKey);
  viewer.addEventListener("close", () => goTo(current));
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) {
      readPlace();
      apply();
    }
  });
  readPlace();
  showReview();
  apply();
}
