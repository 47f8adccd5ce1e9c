"use strict";
// A plot of the last minutes on a canvas: lines or a stack of areas, an axis with round numbers, a
// legend that tells the latest values or those under the pointer. It knows no metric.
//
// A point is [seconds, [a number or null for each series]]; null leaves a gap.

const SPAN_SECONDS = 300;
// As long as there is less, the plot shows that, but no less than this.
const SPAN_LEAST = 60;
const MARGIN = { left: 62, right: 10, top: 8, bottom: 20 };

class Plot {
  // kind: { title, series: [[name, CSS variable]], format, stacked, log, binary, least }
  constructor(home, kind) {
    this.kind = kind;
    this.points = [];
    this.pointer = null;
    const card = home.appendChild(document.createElement("div"));
    card.className = "card";
    card.appendChild(document.createElement("h2")).textContent = kind.title;
    const legend = card.appendChild(document.createElement("div"));
    legend.className = kind.series.length > 3 ? "legend many" : "legend";
    this.values = kind.series.map(([name, color]) => {
      const entry = legend.appendChild(document.createElement("span"));
      entry.appendChild(document.createElement("i")).style.background = `var(${color})`;
      entry.append(`${name} `);
      return entry.appendChild(document.createElement("b"));
    });
    this.canvas = card.appendChild(document.createElement("canvas"));
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", kind.title);
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  add(seconds, values) {
    this.points.push([seconds, values]);
    const from = seconds - SPAN_SECONDS - 2;
    while (this.points.length && this.points[0][0] < from) this.points.shift();
    this.draw();
  }

  point(x) {
    this.pointer = x;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;

    const last = this.points.length ? this.points[this.points.length - 1][0] : 0;
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    this.span = Math.min(Math.max(last - (this.points[0]?.[0] ?? last), SPAN_LEAST), SPAN_SECONDS);
    const ticks = this.ticks();
    const at = this.scale(ticks, box, last);
    this.axes(pen, color, box, ticks, at, last);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
    pen.clip();
    if (this.kind.stacked) this.areas(pen, color, at);
    else this.lines(pen, color, at);
    pen.restore();
    this.tell(pen, color, box, at);
  }

  // The numbers at the axis, ascending.
  ticks() {
    const { stacked, log, binary, least } = this.kind;
    const heights = this.points.flatMap(([, values]) =>
      stacked ? [values.reduce((sum, one) => sum + (one ?? 0), 0)] : values.filter((one) => one !== null));
    if (log) {
      const positive = heights.filter((one) => one > 0);
      if (!positive.length) return [1, 10, 100];
      const low = Math.floor(Math.log10(Math.min(...positive)));
      const high = Math.max(Math.ceil(Math.log10(Math.max(...positive))), low + 1);
      return Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
    }
    const most = Math.max(least, ...heights) * 1.05;
    const base = binary ? 2 ** Math.floor(Math.log2(most / 4)) : 10 ** Math.floor(Math.log10(most / 4));
    const factors = binary ? [1, 2] : [1, 2, 2.5, 5, 10];
    const whole = (step) => binary || step >= 1 || least < 1;
    const step = factors.map((factor) => factor * base).find((one) => one * 4.001 >= most && whole(one)) ?? Math.max(1, base * 2);
    return Array.from({ length: Math.ceil(most / step) + 1 }, (_, number) => number * step);
  }

  // Where a time and a number stand.
  scale(ticks, box, last) {
    const { log } = this.kind;
    const map = log ? (one) => Math.log10(Math.max(one, ticks[0])) : (one) => one;
    const [low, high] = [map(ticks[0]), map(ticks[ticks.length - 1])];
    return {
      x: (seconds) => box.right - ((last - seconds) / this.span) * (box.right - box.left),
      y: (one) => box.bottom - ((map(one) - low) / (high - low)) * (box.bottom - box.top),
    };
  }

  axes(pen, color, box, ticks, at, last) {
    pen.strokeStyle = color("--line");
    pen.fillStyle = color("--soft");
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks) {
      const y = Math.round(at.y(tick)) + 0.5;
      pen.beginPath();
      pen.moveTo(box.left, y);
      pen.lineTo(box.right, y);
      pen.stroke();
      pen.fillText(this.kind.format(tick), box.left - 6, y);
    }
    pen.textBaseline = "alphabetic";
    const step = this.span <= 90 ? 20 : this.span <= 180 ? 60 : 120;
    // The leftmost part has room for no label of its own.
    for (let ago = 0; ago <= this.span - step / 3; ago += step) {
      const text = ago === 0 ? "now" : ago % 60 ? `\u2212${ago} s` : `\u2212${ago / 60} min`;
      pen.textAlign = ago === 0 ? "right" : "center";
      pen.fillText(text, at.x(last - ago), box.bottom + 15);
    }
  }

  // Runs of points without a gap, for one series; `value` gives its number.
  static runs(points, value) {
    const runs = [[]];
    for (const point of points) {
      const one = value(point[1]);
      if (one === null) runs.push([]);
      else runs[runs.length - 1].push([point[0], one]);
    }
    return runs.filter((run) => run.length);
  }

  lines(pen, color, at) {
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    this.kind.series.forEach(([, name], number) => {
      pen.strokeStyle = pen.fillStyle = color(name);
      for (const run of Plot.runs(this.points, (values) => values[number])) {
        pen.beginPath();
        run.forEach(([seconds, one]) => pen.lineTo(at.x(seconds), at.y(one)));
        pen.stroke();
        if (run.length === 1) pen.fillRect(at.x(run[0][0]) - 1.5, at.y(run[0][1]) - 1.5, 3, 3);
      }
    });
  }

  areas(pen, color, at) {
    const upTo = (values, number) =>
      values[0] === null ? null : values.slice(0, number + 1).reduce((sum, one) => sum + one, 0);
    // From the highest to the lowest, each over those above it.
    for (let number = this.kind.series.length - 1; number >= 0; number -= 1) {
      pen.fillStyle = color(this.kind.series[number][1]);
      for (const run of Plot.runs(this.points, (values) => upTo(values, number))) {
        pen.beginPath();
        pen.moveTo(at.x(run[0][0]), at.y(0));
        run.forEach(([seconds, one]) => pen.lineTo(at.x(seconds), at.y(one)));
        pen.lineTo(at.x(run[run.length - 1][0]), at.y(0));
        pen.fill();
      }
    }
  }

  // The values under the pointer, or else the latest.
  tell(pen, color, box, at) {
    let chosen = this.points[this.points.length - 1];
    if (this.pointer !== null && chosen) {
      const away = (point) => Math.abs(at.x(point[0]) - this.pointer);
      chosen = this.points.reduce((best, point) => (away(point) < away(best) ? point : best));
      pen.strokeStyle = color("--soft");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(Math.round(at.x(chosen[0])) + 0.5, box.top);
      pen.lineTo(Math.round(at.x(chosen[0])) + 0.5, box.bottom);
      pen.stroke();
    }
    this.values.forEach((place, number) => {
      const one = chosen ? chosen[1][number] : null;
      place.textContent = one === null || one === undefined ? "\u2013" : this.kind.format(one);
    });
  }
}
