// Time series: panels one above the other on one time axis, with one cursor. Names of buckets come from the server, so
// that a day is the same day in axis, note, table and file.

/* global uPlot */

import { ask, tellFailure } from "./loading.js";

const HEIGHT = 132;
const AXIS_HEIGHT = 34;
const GAP_PX = 64;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Which buckets get a name below the axis: the weightiest that leave room for each other. */
function named(series, width) {
  const most = Math.max(1, Math.floor(width / GAP_PX));
  const weights = [...new Set(series.ticks.map(([, weight]) => weight))].sort((a, b) => b - a);
  let chosen = [];
  for (const weight of weights) {
    const all = series.ticks.flatMap(([, own], at) => (own >= weight ? [at] : []));
    if (all.length <= most) {
      chosen = all;
      continue;
    }
    if (chosen.length < 2) {
      const step = Math.ceil(all.length / most);
      chosen = all.filter((_, place) => place % step === 0);
    }
    break;
  }
  return chosen;
}

function axes(series, last) {
  const grid = { stroke: colour("--grid"), width: 1 };
  const font = "12px system-ui, sans-serif";
  return [
    {
      show: last,
      stroke: colour("--soft"),
      font,
      size: AXIS_HEIGHT,
      grid: { show: false },
      ticks: { show: true, stroke: colour("--line"), size: 5 },
      splits: (chart) => named(series, chart.width).map((at) => series.edges[at]),
      values: (_, splits) => splits.map((edge) => series.ticks[series.edges.indexOf(edge)][0]),
    },
    {
      stroke: colour("--soft"),
      font,
      size: 58,
      grid,
      ticks: { show: false },
      splits: (chart, at, least, greatest) => uPlotSplits(least, greatest),
      values: (_, splits) => splits.map((value) => value.toLocaleString("en", { maximumSignificantDigits: 3 })),
    },
  ];
}

/** Two to four round steps from zero. */
function uPlotSplits(least, greatest) {
  const power = 10 ** Math.floor(Math.log10((greatest - least) / 3 || 1));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((one) => (greatest - least) / one <= 4);
  const splits = [];
  for (let value = Math.ceil(least / step) * step; value <= greatest * 1.0001; value += step) {
    splits.push(Number(value.toPrecision(6)));
  }
  return splits;
}

/** A level line over the whole of each bucket, joined to its neighbours; a bucket alone is seen too. */
function levels(chart, edges, values) {
  const path = new Path2D();
  values.forEach((value, at) => {
    if (value === null) {
      return;
    }
    const y = chart.valToPos(value, "y", true);
    const left = chart.valToPos(edges[at], "x", true);
    path[at > 0 && values[at - 1] !== null ? "lineTo" : "moveTo"](left, y);
    path.lineTo(chart.valToPos(edges[at + 1], "x", true), y);
  });
  return path;
}

function options(series, panel, width, last, moved) {
  const accent = colour("--accent");
  const bars = panel.form === "bars";
  const steps = { paths: (chart, number) => ({ stroke: levels(chart, series.edges, chart.data[number]) }), width: 2 };
  const filled = { paths: uPlot.paths.bars({ size: [0.82, 120], align: 1, radius: 0.12 }), width: 0, fill: accent };
  return {
    width,
    height: HEIGHT + (last ? AXIS_HEIGHT : 0),
    padding: [8, 4, last ? 0 : 8, 0],
    legend: { show: false },
    cursor: {
      sync: { key: series.key },
      drag: { x: false, y: false },
      points: { show: !bars },
      y: false,
    },
    scales: {
      x: { time: false, range: () => [series.edges[0], series.edges.at(-1)] },
      y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] },
    },
    axes: axes(series, last),
    series: [{}, { stroke: accent, points: { show: false }, ...(bars ? filled : steps) }],
    hooks: { setCursor: [(chart) => moved(chart.cursor.left >= 0 ? chart.posToVal(chart.cursor.left, "x") : null)] },
  };
}

function bucketAt(series, moment) {
  if (moment === null) {
    return -1;
  }
  return series.edges.findLastIndex((edge) => edge <= moment);
}

function title(panel) {
  const line = document.createElement("p");
  line.className = "panel-title";
  const name = document.createElement("b");
  name.textContent = panel.title;
  const unit = document.createElement("span");
  unit.textContent = panel.unit;
  line.append(name, unit, document.createElement("output"));
  return line;
}

function draw(place, series) {
  series.key = place.dataset.chart;
  place.replaceChildren();
  const outputs = [];
  const moved = (moment) => {
    const at = bucketAt(series, moment);
    outputs.forEach((output, number) => {
      const panel = series.panels[number];
      output.textContent = at < 0 || at >= series.names.length ? "" : `${series.names[at]}: ${panel.texts[at]}`;
    });
  };
  const times = series.edges.slice(0, -1);
  const charts = series.panels.map((panel, number) => {
    const line = title(panel);
    outputs.push(line.querySelector("output"));
    const box = document.createElement("div");
    place.append(line, box);
    const last = number === series.panels.length - 1;
    return new uPlot(options(series, panel, place.clientWidth, last, moved), [times, panel.values], box);
  });
  new ResizeObserver(() => {
    charts.forEach((chart) => chart.setSize({ width: place.clientWidth, height: chart.height }));
  }).observe(place);
}

/** The same numbers as a table, made when it is opened. */
function numbers(details, series) {
  const table = document.createElement("table");
  table.className = "sheet";
  const head = table.createTHead().insertRow();
  for (const text of ["When", ...series.panels.map((panel) => panel.title)]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    head.append(cell);
  }
  const body = table.createTBody();
  series.names.forEach((name, at) => {
    const row = body.insertRow();
    const cell = document.createElement("th");
    cell.scope = "row";
    cell.className = "text";
    cell.textContent = name;
    row.append(cell);
    for (const panel of series.panels) {
      const value = row.insertCell();
      value.textContent = panel.texts[at];
      value.dataset.label = panel.title;
    }
  });
  head.cells[0].className = "text";
  details.querySelector("[data-numbers]").replaceChildren(table);
}

async function start(place) {
  let series;
  try {
    series = await (await ask(place.dataset.chart)).json();
  } catch (error) {
    tellFailure(place, error, () => start(place));
    return;
  }
  place.closest(".card").querySelector("[data-each]").textContent = series.each;
  draw(place, series);
  document.addEventListener("theme", () => draw(place, series));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(place, series));
  const details = place.parentElement.querySelector(".numbers");
  details?.addEventListener("toggle", () => details.open && numbers(details, series), { once: true });
  if (details?.open) {
    numbers(details, series);
  }
}

export function drawCharts() {
  document.querySelectorAll("[data-chart]").forEach(start);
}
