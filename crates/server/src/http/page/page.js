// The page: asks for the numbers once a second, makes rates of counters, and feeds the plots.

const PERIOD_MS = 1000;
const byId = (id) => document.getElementById(id);

// Three digits or so, with the unit's prefix.
function short(value, units, base) {
  let unit = 0;
  while (Math.abs(value) >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 && Number.isInteger(value) ? 0 : Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  const text = value.toFixed(digits);
  return (digits ? text.replace(/\.?0+$/, "") : text) + units[unit];
}
const count = (value) => short(value, ["", " k", " M", " G"], 1000);
const rate = (value) => `${count(value)}/s`;
const bytes = (value) => short(value, [" B", " KiB", " MiB", " GiB", " TiB"], 1024);
const micros = (value) => short(value, [" \u00b5s", " ms", " s"], 1000);
const millis = (value) => short(value, [" ms", " s"], 1000);

const USES = [
  ["items", "items", "--one"],
  ["index", "index", "--two"],
  ["item_waste", "reusable", "--three"],
  ["arena_other", "other arena", "--four"],
  ["client_buffers", "buffers", "--five"],
  ["heap_other", "other heap", "--six"],
];
const series = (...names) => names.map((name, number) => [name, ["--one", "--two", "--three"][number]]);
const plot = (kind) => new Plot(byId("plots"), { least: 10, ...kind });
const plots = {
  requests: plot({ title: "Requests", series: series("RESP", "memcached"), format: rate }),
  latency: plot({ title: "Time of RESP commands", series: series("p50", "p99", "p99.9"), format: micros, log: true }),
  sessions: plot({ title: "Keys and sessions", series: series("keys", "sessions"), format: count }),
  memory: plot({ title: "Memory by use", series: USES.map(([, name, color]) => [name, color]), format: bytes, stacked: true, binary: true, least: 1 << 20 }),
  lag: plot({ title: "Expiry: from deadline to end", series: series("mean of the second"), format: millis }),
  ended: plot({ title: "Expired and evicted", series: series("expired", "evicted"), format: rate }),
};

const tiles = ["requests", "p99", "sessions", "keys", "clients", "memory", "longest expiry lag"].map((name) => {
  const tile = byId("tiles").appendChild(document.createElement("div"));
  tile.className = "tile";
  const value = tile.appendChild(document.createElement("b"));
  value.textContent = "\u2013";
  tile.appendChild(document.createElement("span")).textContent = name;
  return value;
});

// Of [bound, count] pairs that both counted, what the time was of so many percent in between.
function percentiles(before, after, wanted) {
  const known = new Map(before);
  const fresh = after.map(([bound, all]) => [bound, all - (known.get(bound) ?? 0)]).filter(([, more]) => more > 0);
  const all = fresh.reduce((sum, [, more]) => sum + more, 0);
  return wanted.map((percent) => {
    let seen = 0;
    for (const [bound, more] of fresh) {
      seen += more;
      if (seen >= (all * percent) / 100) return bound / 1000;
    }
    return null;
  });
}

function say(text, how) {
  byId("status").textContent = text;
  byId("status").className = how;
}

function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([size, unit], number) =>
    `${Math.floor((number ? seconds % parts[first][0] : seconds) / size)} ${unit}`).join(" ");
}

function showSlow(entries) {
  byId("slow").hidden = !entries.length;
  byId("slow-none").hidden = Boolean(entries.length);
  const rows = entries.map((entry) => {
    const row = document.createElement("tr");
    const when = new Date(entry.at * 1000).toLocaleTimeString([], { hour12: false });
    for (const text of [when, entry.command || "\u2013", entry.key || "\u2013", micros(entry.us)]) {
      row.appendChild(document.createElement("td")).textContent = text;
    }
    row.lastChild.className = "number";
    return row;
  });
  byId("slow").tBodies[0].replaceChildren(...rows);
}

function show(before, now) {
  const words = { serving: "serving", log_failed: "read-only: the log can't be written", memory_full: "read-only: memory is full" };
  say(words[now.status] ?? now.status, now.status === "serving" ? "good" : "bad");
  const limit = now.limit ? `cap ${bytes(now.limit)}` : "no cap";
  byId("about").textContent = `${now.version} \u00b7 up ${duration(now.uptime_s)} \u00b7 ${limit} \u00b7 ${bytes(now.resident)} resident`;
  const used = USES.reduce((sum, [name]) => sum + now.memory[name], 0);
  const at = now.now_ms / 1000;
  plots.sessions.add(at, [now.keys, now.sessions]);
  plots.memory.add(at, USES.map(([name]) => now.memory[name]));
  let [total, slowest] = [null, null];
  if (before && now.now_ms > before.now_ms && now.uptime_s >= before.uptime_s) {
    const per = (name) => ((now[name] - before[name]) * 1000) / (now.now_ms - before.now_ms);
    const times = percentiles(before.durations, now.durations, [50, 99, 99.9]);
    const ended = now.expired - before.expired;
    plots.requests.add(at, [per("requests_resp"), per("requests_memcached")]);
    plots.latency.add(at, times);
    plots.lag.add(at, [ended ? (now.lag_sum_ms - before.lag_sum_ms) / ended : null]);
    plots.ended.add(at, [per("expired"), per("evicted")]);
    total = per("requests_resp") + per("requests_memcached");
    slowest = times[1];
  }
  const texts = [
    total === null ? "\u2013" : rate(total),
    slowest === null ? "\u2013" : micros(slowest),
    count(now.sessions), count(now.keys), count(now.clients), bytes(used), millis(now.lag_max_ms),
  ];
  tiles.forEach((tile, number) => { tile.textContent = texts[number]; });
  showSlow(now.slow);
}

function gap() {
  const at = Date.now() / 1000;
  for (const one of Object.values(plots)) {
    if (one.points.length) one.add(Math.max(at, one.points[one.points.length - 1][0]), one.kind.series.map(() => null));
  }
}

let before = null;
async function ask() {
  try {
    const answer = await fetch("/api/stats", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const now = await answer.json();
    if (answer.ok) {
      show(before, now);
      before = now;
    } else {
      say(now.status, "bad");
    }
  } catch {
    if (before) gap();
    before = null;
    say("no answer", "bad");
  }
  setTimeout(ask, PERIOD_MS);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  Object.values(plots).forEach((one) => one.draw());
});
ask();
