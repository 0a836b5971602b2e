// Thresholds that a reader moves: verdicts of the cases follow, and all masks of the run are counted, shown or not.
const acceptAt = document.getElementById("accept-at");
const rejectAt = document.getElementById("reject-at");
const hundredths = (value) => Math.floor(value * 100 + 1e-9);
let moved = null; // { accept, reject } in hundredths; null: as the run had them

for (const one of cases) one.given = one.verdict;

function verdictAt(low, high, at) { // of the ends of an interval in hundredths
  if (high < at.reject) return "reject";
  return low >= at.accept ? "accept" : "review";
}

function judge() {
  for (const one of cases) {
    const fixed = !moved || one.given === "abstain" || one.low === null || one.high === null;
    one.verdict = fixed ? one.given : verdictAt(hundredths(one.low), hundredths(one.high), moved);
  }
}

function countsAt(at) {
  const counts = { accept: 0, review: 0, reject: 0 };
  for (const [low, high, n] of run.pairs) counts[verdictAt(low, high, at)] += n;
  return counts;
}

function showThresholds() {
  const start = { accept: run.accept === null ? null : run.accept * 100, reject: run.reject * 100 };
  const at = moved ?? start;
  acceptAt.value = Math.round(at.accept ?? 100);
  rejectAt.value = Math.round(at.reject);
  const shown = (value) => (value === null ? "none" : (value / 100).toFixed(Number.isInteger(Math.round(value * 1e6) / 1e6) ? 2 : 3));
  document.getElementById("accept-value").textContent = shown(at.accept);
  document.getElementById("reject-value").textContent = shown(at.reject);
  document.getElementById("reset").hidden = !moved;
  const counts = moved ? countsAt(moved) : run.counts;
  const silent = run.counts.abstain ?? 0;
  const share = (n) => `${n ?? 0} (${run.total ? Math.round((100 * (n ?? 0)) / run.total) : 0}%)`;
  const words = `${SIGNS.accept} accept ${share(counts.accept)} · ${SIGNS.review} review ${share(counts.review)} · `
    + `${SIGNS.reject} reject ${share(counts.reject)} · ${SIGNS.abstain} abstain ${share(silent)}`;
  document.getElementById("thresholds-said").textContent = `Of ${run.total} masks: ${words}.`
    + (moved ? " On this page alone: predictions.csv keeps the verdicts of the run, and no promise about risk holds." : "");
}

function move(changed) {
  const at = { accept: Number(acceptAt.value), reject: Number(rejectAt.value) };
  if (at.reject > at.accept) { // reject must not be above accept: the other one gives way
    if (changed === acceptAt) at.reject = at.accept;
    else at.accept = at.reject;
  }
  moveTo(at);
  apply();
}

function moveTo(at) {
  moved = at;
  judge();
  showThresholds();
  showCounts();
}

function readThresholds(values) { // out of the address of the page
  const whole = (name) => {
    const value = Number(values.get(name));
    return values.has(name) && value >= 0 && value <= 1 ? Math.round(value * 100) : null;
  };
  const at = { accept: whole("accept"), reject: whole("reject") };
  moveTo(at.accept === null || at.reject === null || at.reject > at.accept ? null : at);
}

if (run) {
  for (const slider of [acceptAt, rejectAt]) slider.addEventListener("input", () => move(slider));
  document.getElementById("reset").addEventListener("click", () => { moveTo(null); apply(); });
}
