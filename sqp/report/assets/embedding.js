"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [canvas, tip, ids, count, legend, space, colour] =
  ["map", "tip", "ids", "count", "legend", "space", "colour"].map((id) => document.getElementById(id));
const pen = canvas.getContext("2d"), PAD = 24, RADIUS = data.ids.length > 1500 ? 3 : 4.5;
let lasso = [], dragging = false, chosen = new Set(), hovered = -1, places = [];

const option = (select, value, text) => select.add(new Option(text, value));
Object.keys(data.spaces).forEach((name) => option(space, name, data.spaces[name].title));
data.fields.forEach((field, i) => option(colour, i, field.title));

const ramp = (stops, t) => {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[i].map((v, k) => Math.round(v + (stops[i + 1][k] - v) * (at - i)));
  return `rgb(${mixed})`;
};

function place() {
  const points = data.spaces[space.value].points;
  const ends = [0, 1].map((k) => {
    const values = points.map((p) => p[k]);
    return [Math.min(...values), Math.max(...values)];
  });
  const spread = (v, [low, high]) => (high > low ? (v - low) / (high - low) : 0.5);
  places = points.map((p) => [PAD + spread(p[0], ends[0]) * (canvas.width - 2 * PAD),
    canvas.height - PAD - spread(p[1], ends[1]) * (canvas.height - 2 * PAD)]);
}

function colourOf(field, i) {
  const value = field.values[i];
  if (field.names) return field.colours[value];
  return value === null ? "#888888" : ramp(field.colours, (value - field.low) / (field.high - field.low || 1));
}

function shape(x, y, r, kind) {
  pen.beginPath();
  if (kind === 1) pen.rect(x - r, y - r, 2 * r, 2 * r);
  else if (kind === 2) { pen.moveTo(x, y - 1.3 * r); pen.lineTo(x + 1.2 * r, y + r); pen.lineTo(x - 1.2 * r, y + r); pen.closePath(); }
  else if (kind === 3) { pen.moveTo(x, y - 1.4 * r); pen.lineTo(x + 1.4 * r, y); pen.lineTo(x, y + 1.4 * r); pen.lineTo(x - 1.4 * r, y); pen.closePath(); }
  else pen.arc(x, y, r, 0, 7);
}

function draw() {
  const field = data.fields[colour.value], ink = getComputedStyle(document.body).color;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  places.forEach(([x, y], i) => {
    pen.globalAlpha = chosen.size && !chosen.has(i) ? 0.15 : 0.85;
    shape(x, y, RADIUS, field.names ? field.values[i] % 4 : 0);
    pen.fillStyle = colourOf(field, i);
    pen.fill();
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = ink;
  if (hovered >= 0) { pen.lineWidth = 2; shape(...places[hovered], RADIUS + 3, 0); pen.stroke(); }
  if (lasso.length > 1) {
    pen.lineWidth = 1.5;
    pen.beginPath();
    lasso.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    if (!dragging) pen.closePath();
    pen.stroke();
  }
}

function explain() {
  const field = data.fields[colour.value];
  legend.replaceChildren();
  const say = (text) => legend.append(Object.assign(document.createElement("span"), { textContent: text }));
  if (field.names) {
    field.names.forEach((name, i) => {
      say(`${"●■▲◆"[i % 4]} ${name}`);
      legend.lastChild.style.color = field.colours[i];
    });
    return;
  }
  say(field.low.toFixed(2));
  const bar = Object.assign(document.createElement("span"), { id: "bar" });
  bar.style.background = `linear-gradient(90deg, ${[0, .25, .5, .75, 1].map((t) => ramp(field.colours, t))})`;
  legend.append(bar);
  say(field.high.toFixed(2));
}

const inside = ([x, y], ring) => ring.reduce((odd, [ax, ay], i) => {
  const [bx, by] = ring[(i || ring.length) - 1];
  return (ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax ? !odd : odd;
}, false);

function at(event) {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
}

function hover(event) {
  const [x, y] = at(event);
  let best = 12;
  hovered = -1;
  places.forEach(([px, py], i) => {
    const far = Math.hypot(px - x, py - y);
    if (far < best) { best = far; hovered = i; }
  });
  tip.hidden = hovered < 0;
  if (hovered < 0) return;
  tip.replaceChildren();
  if (data.pictures[hovered]) tip.append(Object.assign(new Image(), { src: data.pictures[hovered], alt: "" }));
  const line = (text) => tip.append(Object.assign(document.createElement("div"), { textContent: text }));
  line(data.ids[hovered]);
  data.fields.forEach((field) => {
    const value = field.values[hovered];
    line(`${field.title}: ${value === null ? "–" : field.names ? field.names[value] : value.toFixed(3)}`);
  });
  const box = canvas.getBoundingClientRect(), stage = canvas.parentElement.getBoundingClientRect();
  const left = event.clientX - stage.left + 16;
  tip.style.left = `${left + tip.offsetWidth > stage.width ? left - tip.offsetWidth - 32 : left}px`;
  const low = event.clientY > box.top + box.height / 2; // the picture's height is not known yet: keep it inside
  tip.style.top = low ? "auto" : `${event.clientY - stage.top}px`;
  tip.style.bottom = low ? `${stage.bottom - event.clientY}px` : "auto";
}

function choose() {
  chosen = new Set(lasso.length > 2 ? places.flatMap((p, i) => (inside(p, lasso) ? [i] : [])) : []);
  ids.value = [...chosen].map((i) => data.ids[i]).join("\n");
  count.textContent = chosen.size ? `${chosen.size} of ${data.ids.length} records chosen` : "no records chosen";
}

canvas.addEventListener("pointerdown", (event) => {
  dragging = true; lasso = [at(event)]; canvas.setPointerCapture(event.pointerId); tip.hidden = true; draw();
});
canvas.addEventListener("pointermove", (event) => { if (dragging) lasso.push(at(event)); else hover(event); draw(); });
canvas.addEventListener("pointerup", () => { dragging = false; choose(); draw(); });
canvas.addEventListener("pointerleave", () => { if (!dragging) { hovered = -1; tip.hidden = true; draw(); } });
document.getElementById("clear").addEventListener("click", () => { lasso = []; choose(); draw(); });
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
space.addEventListener("input", () => { lasso = []; choose(); place(); draw(); });
colour.addEventListener("input", () => { explain(); draw(); });
place(); explain(); draw();
