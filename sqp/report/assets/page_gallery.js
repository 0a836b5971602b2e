// All cases: filters, search and order; cards are made as the reader scrolls, so that thousands cost nothing.
const STEP = 48;
const ORDERS = {
  "worst predicted first": null, // as they come: abstentions, then the lowest prediction
  "best predicted first": (one) => -(one.predicted_dice ?? -1),
  "largest error first": (one) => (one.dice === null || one.predicted_dice === null ? 2 : -Math.abs(one.dice - one.predicted_dice)),
  "lowest true Dice first": (one) => one.dice ?? 2,
  "widest interval first": (one) => (one.low === null || one.high === null ? 2 : one.low - one.high),
};
const cases = JSON.parse(document.getElementById("cases").textContent);
for (const one of cases) if (one.slices) Object.assign(one, one.slices[one.slice]); // what a card shows of a volume
const cards = document.getElementById("cards");
const kind = document.getElementById("kind");
const order = document.getElementById("order");
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
    && `${one.name} ${one.id} ${one.image_id}`.toLowerCase().includes(part));
  const key = ORDERS[order.value];
  if (key) listed.sort((a, b) => key(a) - key(b));
  cards.replaceChildren();
  more();
  lookAgain();
  document.getElementById("shown").textContent = `${listed.length} of ${cases.length} cases`;
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

function columns() {
  const tops = [...cards.children].slice(0, 12).map((item) => item.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

function onKey(event) {
  const typing = event.target.matches("input[type=search], select");
  if (event.ctrlKey || event.altKey || event.metaKey || viewer.open || typing) return;
  if (event.key === "/") {
    event.preventDefault();
    search.focus();
    return;
  }
  const at = event.target.classList.contains("card") ? [...cards.children].indexOf(event.target.parentElement) : -1;
  const steps = { j: 1, k: -1 };
  if (at >= 0) Object.assign(steps, { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() });
  if (event.key in steps) {
    event.preventDefault();
    goTo(at < 0 ? 0 : at + steps[event.key]);
  }
}

if (cases.length) {
  radio("", "all");
  for (const name of Object.keys(SIGNS)) {
    radio(name, `${SIGNS[name]} ${name} (${cases.filter((one) => one.verdict === name).length})`);
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
  document.getElementById("controls").addEventListener("input", apply);
  document.getElementById("clear").addEventListener("click", () => {
    search.value = kind.value = "";
    document.querySelector("#verdicts input").checked = true;
    order.selectedIndex = 0;
    apply();
  });
  document.addEventListener("keydown", onKey);
  viewer.addEventListener("close", () => goTo(current));
  apply();
}
