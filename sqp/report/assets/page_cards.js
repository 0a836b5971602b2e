// A case as elements: the picture with its contours, a map, if there is one, the scale from 0 to 1, the words.
const SIGNS = { accept: "✓", review: "?", reject: "✗", abstain: "–" };

function make(tag, className = "", text = null) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== null) element.textContent = text;
  return element;
}

function contour(svg, name, outline) {
  const group = document.createElementNS(svg.namespaceURI, "g");
  group.setAttribute("class", name);
  for (const kind of ["edge", name]) {
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", outline);
    group.append(path);
  }
  svg.append(group);
}

function picture(one, source, missing, alt) {
  const box = make("span", "picture");
  box.style.aspectRatio = `${one.width} / ${one.height}`;
  box.style.setProperty("--ratio", one.width / one.height);
  if (source) {
    const image = make("img");
    Object.assign(image, { alt, decoding: "async", src: source });
    box.append(image);
  } else {
    box.append(make("em", "", missing));
  }
  return box;
}

function outlined(one) {
  const box = picture(one, one.image, "image not readable", `image of ${one.image_id} with its contours`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${one.width} ${one.height}`);
  if (one.truth) contour(svg, "truth", one.truth);
  if (one.mask) contour(svg, "mask", one.mask);
  box.append(svg);
  return box;
}

function scale(one) {
  const line = make("span", "scale");
  line.setAttribute("aria-hidden", "true");
  const at = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;
  if (one.low !== null && one.high !== null) {
    const range = make("span", "range");
    range.style.left = at(one.low);
    range.style.right = at(1 - one.high);
    line.append(range);
  }
  for (const [name, value] of [["predicted", one.predicted_dice], ["true", one.dice]]) {
    if (value === null) continue;
    const dot = make("span", `dot ${name}`);
    dot.style.left = at(value);
    line.append(dot);
  }
  return line;
}

function numbers(one) {
  const row = make("span", "numbers");
  const said = make("span", "", "predicted ");
  said.append(make("b", "", one.predicted_dice === null ? "none" : one.predicted_dice.toFixed(2)));
  if (one.low !== null && one.high !== null && one.predicted_dice !== null) {
    said.append(` (${one.low.toFixed(2)} to ${one.high.toFixed(2)})`);
  }
  row.append(said);
  if (one.dice !== null) {
    const truth = make("span", "", "true ");
    truth.append(make("b", "", one.dice.toFixed(2)));
    row.append(truth);
  }
  return row;
}

function verdictMark(one) {
  return make("span", `remark ${one.verdict}`, [`${SIGNS[one.verdict] ?? ""} ${one.verdict}`, ...one.remarks].join(" · "));
}

// The map that a card has room for, by its name in the case: the uncertainty, else the expected error, else none.
function shownMap(one) {
  return ["uncertainty", "error"].find((name) => one[name]);
}

const WRONG = "mask probably wrong";

function map(one, name) {
  const what = name === "error" ? WRONG : one.measure;
  return picture(one, one[name], what, `${what} in ${one.name}`);
}

function card(one, open) {
  const button = make("button", "card");
  button.type = "button";
  const pair = make("span", "pair");
  pair.append(outlined(one), ...(shownMap(one) ? [map(one, shownMap(one))] : []));
  button.append(pair, make("span", "id", one.name), scale(one), numbers(one), verdictMark(one));
  if (run) button.append(one.mark = decisionMark(one));
  button.addEventListener("click", open);
  const item = make("li");
  item.append(button);
  return item;
}
