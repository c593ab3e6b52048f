// The year by day: a column a day, of what was opened, merged and closed, and a slider that reads one out.

import { onBeat } from "./beat.js";
import { dayName } from "./numbers.js";
import { number, setText } from "./text.js";

const DAY = 86_400;
/** From the bottom of a column to its top. */
const STACK = ["open", "merge", "close"];
const COLOURS = { open: "--opened", merge: "--merged", close: "--closed" };
/** A year changes slowly: it is drawn at most so often, in milliseconds. */
const PACE = 10_000;
/** A window that is being made larger or smaller has its size so many milliseconds after the last change. */
const RESIZING = 200;

export class Year {
  #place = document.getElementById("year");
  #slider = document.getElementById("year-day");
  #output = document.getElementById("year-output");
  #counts = null;
  #plot = null;
  #timer = 0;
  #tell = () => this.#read();
  #resizing = 0;
  /** The year that the chart was built for. */
  #year = null;
  #days = [];
  /** The day that is read out; null is the newest. */
  #chosen = null;

  constructor() {
    this.#slider.addEventListener("input", () => {
      const last = this.#days.length - 1;
      this.#chosen = this.#slider.valueAsNumber >= last ? null : this.#days[this.#slider.valueAsNumber];
      this.#read();
      this.#describe();
    });
    new ResizeObserver(() => this.#resize()).observe(this.#place);
    document.addEventListener("themechange", () => this.#build());
  }

  show(counts) {
    this.#counts = counts;
    if (!this.#plot) this.#build();
    onBeat(this.#tell);
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, PACE);
  }

  /** Times in seconds, and for each part of the stack its upper edge; the tallest first, as they are painted. */
  #columns() {
    const { days } = this.#counts.data;
    const known = Object.keys(days).sort();
    const times = known.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000);
    const edges = STACK.map((_, top) =>
      known.map((day) => STACK.slice(0, top + 1).reduce((sum, name) => sum + (days[day][name] ?? 0), 0)));
    return [times, ...edges.reverse()];
  }

  #build() {
    if (!this.#counts || !window.uPlot) return;
    this.#plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    // In whole pixels: uPlot reads them out of this to scale them.
    const px = Math.round(parseFloat(style.fontSize) * 0.78);
    const font = `${px}px ${style.fontFamily}`;
    const axis = { stroke: of("--quiet"), font, ticks: { show: false } };
    // As wide as a day, also where there is only one.
    const bars = uPlot.paths.bars({ size: [0.8, Math.max(3, this.#place.clientWidth / 366)] });
    const series = [...STACK].reverse().map((name) =>
      ({ fill: of(COLOURS[name]), stroke: of(COLOURS[name]), width: 0, paths: bars, points: { show: false } }));
    const { year } = this.#counts.data;
    this.#year = year;
    const first = Date.UTC(year, 0, 1) / 1000 - DAY;
    const months = { values: (_, at) => at.map((time) => MONTH.format(new Date(time * 1000))) };
    this.#plot = new uPlot({
      ...this.#size(),
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true, range: () => [first, Date.UTC(year, 11, 31) / 1000 + DAY] }, y: { range: (_, __, most) => [0, Math.max(most * 1.05, 4)] } },
      axes: [
        { ...axis, ...months, grid: { show: false }, splits: (plot) => monthStarts(year, plot.width < 480 ? 3 : 1), size: px * 1.8 },
        { ...axis, grid: { stroke: of("--line"), width: 1 }, values: (_, at) => at.map((value) => SHORT.format(value)), size: px * 3.6 },
      ],
      series: [{}, ...series],
    }, this.#columns(), this.#place);
    this.#read();
    this.#describe();
  }

  #draw() {
    // Its axis is that of the year that it was built for.
    if (!this.#plot || this.#year !== this.#counts.data.year) return this.#build();
    this.#plot.setData(this.#columns());
    this.#describe();
  }

  #size() {
    return { width: Math.max(this.#place.clientWidth, 120), height: Math.max(this.#place.clientHeight, 80) };
  }

  #resize() {
    if (!this.#plot) return;
    this.#plot.setSize(this.#size());
    // The sizes of type and columns are chosen when it is built.
    clearTimeout(this.#resizing);
    this.#resizing = setTimeout(() => this.#build(), RESIZING);
  }

  /** Shows the numbers of the chosen day. */
  #read() {
    const { days } = this.#counts.data;
    this.#days = Object.keys(days).sort();
    const last = this.#days.length - 1;
    if (last < 0) return;
    let place = this.#days.indexOf(this.#chosen);
    // Nothing was chosen, or what was chosen is gone: of the year before.
    if (place < 0) [this.#chosen, place] = [null, last];
    this.#slider.max = String(last);
    this.#slider.value = String(place);
    const day = this.#days[place];
    const { open = 0, merge = 0, close = 0, dev = 0 } = days[day];
    const said = `${dayName(day)}: ${number(open)} opened, ${number(merge)} merged, ${number(close)} closed, by ${number(dev)} developer${dev === 1 ? "" : "s"}`;
    setText(this.#output, said);
    if (this.#chosen) this.#plot?.setCursor({ left: this.#plot.valToPos(Date.parse(`${day}T00:00:00Z`) / 1000, "x"), top: 0 });
    else this.#plot?.setCursor({ left: -10, top: -10 });
  }

  /** Says them to those who hear the page: not at the pace of the numbers. */
  #describe() {
    const said = this.#output.textContent;
    this.#slider.setAttribute("aria-valuetext", said);
    const { days, year } = this.#counts.data;
    const sum = Object.values(days).reduce((sum, { event = 0 }) => sum + event, 0);
    this.#place.setAttribute("aria-label", `Pull request events by day of ${year}, ${number(sum)} in all. ${said}`);
  }
}

const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", timeZone: "UTC" });
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact" });

/** The first of each month, or of every so many-th where there is little room. */
function monthStarts(year, every) {
  return Array.from({ length: 12 / every }, (_, part) => Date.UTC(year, part * every, 1) / 1000);
}
