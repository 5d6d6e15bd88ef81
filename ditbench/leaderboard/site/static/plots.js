// Charts as plots.py describes them, by plotly. Its texts are HTML-escaped already.
"use strict";
(() => {
  const SHAPES = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const KINDS = ["", "-open", "-dot", "-open-dot"];
  const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif';
  const touch = window.matchMedia("(pointer: coarse)");

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };

  const shown = (value) => (Math.abs(value) >= 1e7 ? value.toExponential(3) : String(value));

  // The least and the most that the seeds of a row cost; undefined where they are one number.
  const reach = (series, x) => {
    const range = series.range?.[x.key];
    return range && range[0] < range[1] ? range : undefined;
  };

  const hover = (series, x, y) =>
    series.x[x.key].map((at, place) => {
      const half = series.dy?.[y.key]?.[place];
      const value = series.y[y.key][place];
      const name = series.note ? `${series.name}, ${series.note}` : series.name;
      const range = reach(series, x);
      const cost = `${x.label}: ${shown(at)}${range ? ` (${range.map(shown).join("–")})` : ""}`;
      const point = series.labels ? `<br>${series.labels.of} ${series.labels.texts[place]}` : "";
      return `<b>${name}</b>${point}<br>${y.label}: ${shown(value)}${half ? ` ± ${half}` : ""}<br>${cost}`;
    });

  const error = (halves, color) =>
    halves?.some((half) => half > 0) ? { type: "data", array: halves, color, thickness: 1.2, width: 3 } : undefined;

  const span = (series, x, color) => {
    const [range, at] = [reach(series, x), series.x[x.key][0]];
    if (!range) return undefined;
    const sides = { array: [range[1] - at], arrayminus: [at - range[0]], symmetric: false };
    return { type: "data", ...sides, color, thickness: 1.2, width: 3 };
  };

  const bars = (series, x, y) => ({
    type: "bar",
    x: series.x[x.key],
    y: series.y[y.key],
    width: series.width,
    marker: { color: colour(`c${series.style % SHAPES.length}`) },
    hoverinfo: "x+y",
    showlegend: false,
  });

  const trace = (series, x, y, first) => {
    const color = colour(`c${series.style % SHAPES.length}`);
    const shape = SHAPES[(series.style + Math.floor(series.style / SHAPES.length)) % SHAPES.length];
    return {
      type: "scatter",
      mode: series.mode,
      name: series.name,
      legendgroup: series.name,
      showlegend: first,
      x: series.x[x.key],
      y: series.y[y.key],
      error_x: error(series.dx?.[x.key], color) ?? span(series, x, color),
      error_y: error(series.dy?.[y.key], color),
      marker: { color, size: series.mode === "markers" ? 11 : 8, symbol: shape + KINDS[series.variant % KINDS.length] },
      line: { color, width: series.mode === "lines" ? 1.4 : 2, dash: DASHES[series.variant % DASHES.length] },
      text: series.labels?.texts,
      textposition: "top center",
      textfont: { size: 11 },
      hovertext: hover(series, x, y),
      hoverinfo: "text",
    };
  };

  const frontLine = (chart, x, y) => {
    const places = chart.fronts?.[`${x.key} ${y.key}`] ?? [];
    return {
      type: "scatter",
      mode: "lines",
      x: places.map((place) => chart.series[place].x[x.key][0]),
      y: places.map((place) => chart.series[place].y[y.key][0]),
      line: { color: colour("muted"), width: 1.2, dash: "dot", shape: "hv" },
      hoverinfo: "skip",
      showlegend: false,
    };
  };

  const drawn = (chart, x, y) => chart.series.filter((series) => series.x[x.key] && series.y[y.key]);

  const traces = (chart, x, y) => {
    const found = drawn(chart, x, y);
    if (found[0]?.mode === "bars") return found.map((series) => bars(series, x, y));
    const names = found.map((series) => series.name);
    const several = new Set(names).size > 1;
    const entry = (series, place) => trace(series, x, y, several && names.indexOf(series.name) === place);
    return [frontLine(chart, x, y), ...found.map(entry)];
  };

  // Of more than a decade plotly would name nine digits: two are enough.
  const digits = (values) => {
    const [least, most] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    return most > 10 * least ? "D2" : undefined;
  };

  const axis = (choice, log, values) => ({
    title: { text: choice.label, standoff: 8 },
    type: log ? "log" : "linear",
    gridcolor: colour("rule"),
    linecolor: colour("muted"),
    zeroline: false,
    ticks: "outside",
    ticklen: 4,
    automargin: true,
    exponentformat: "SI",
    dtick: log ? digits(values) : undefined,
    minorloglabels: "complete",
  });

  const target = (y) => {
    if (y.target === undefined) return {};
    const line = { color: colour("muted"), width: 1, dash: "dash" };
    const at = { xref: "paper", yref: "y", y0: y.target, y1: y.target, x0: 0, x1: 1 };
    const label = { text: "target", textposition: "start", xanchor: "left", font: { size: 11 } };
    return { shapes: [{ type: "line", ...at, line, label }] };
  };

  const values = (chart, name, x, y) =>
    drawn(chart, x, y)
      .flatMap((series) => (name === "x" ? series.x[x.key] : series.y[y.key]))
      .filter((value) => value !== null);

  const layout = (chart, x, y, log) => ({
    font: { family: FONT, size: 13, color: colour("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 12, t: 8, b: 48 },
    xaxis: axis(x, log.x, values(chart, "x", x, y)),
    yaxis: axis(y, log.y, values(chart, "y", x, y)),
    bargap: 0.05,
    dragmode: touch.matches ? false : "zoom",
    hovermode: "closest",
    hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("muted"), font: { color: colour("ink") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, maxheight: 0.8, font: { size: 12 }, itemclick: "toggle" },
    ...target(y),
  });

  const plain = (text) => new DOMParser().parseFromString(text, "text/html").body.textContent;

  const made = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const labelled = (text, input, data) => {
    Object.assign(input.dataset, data);
    return made("label", {}, input, made("span", { textContent: text }));
  };

  // What may be chosen of an axis: nothing of one, buttons of few, a list of many.
  const choices = (figure, name, legend, of) => {
    if (of.length < 2) return [];
    const group = `${figure.id}-${name}`;
    if (of.length > 3) {
      const options = of.map(({ key, label }) => new Option(plain(label), key));
      const select = made("select", { name: group }, ...options);
      select.dataset.axis = name;
      return [made("label", { className: "select" }, `${legend} `, select)];
    }
    const radio = ({ key, label }, place) =>
      labelled(plain(label), made("input", { type: "radio", name: group, value: key, defaultChecked: !place }), { axis: name });
    return [made("fieldset", {}, made("legend", { textContent: legend }), ...of.map(radio))];
  };

  const controls = (figure, chart) => {
    const logs = ["x", "y"].map((name) => labelled(name, made("input", { type: "checkbox" }), { log: name }));
    const box = figure.querySelector(".controls");
    box.append(...choices(figure, "y", "Show", chart.y), ...choices(figure, "x", "against", chart.x));
    box.append(made("fieldset", {}, made("legend", { textContent: "log scale" }), ...logs));
  };

  const control = (figure, name) =>
    figure.querySelector(`select[data-axis=${name}]`) ?? figure.querySelector(`input[data-axis=${name}]:checked`);

  const choice = (figure, chart, name) => {
    const key = control(figure, name)?.value;
    return chart[name].find((of) => of.key === key) ?? chart[name][0];
  };

  // A new choice of an axis comes with its own scale; the reader's tick changes it after that.
  const rescale = (figure, chart, name) => {
    const box = figure.querySelector(`input[data-log=${name}]`);
    if (!box) return;
    const of = choice(figure, chart, name);
    box.checked = of.log;
    box.disabled = !of.positive;
  };

  const draw = (figure, chart) => {
    const [x, y] = ["x", "y"].map((name) => choice(figure, chart, name));
    const log = Object.fromEntries(
      ["x", "y"].map((name) => [name, figure.querySelector(`input[data-log=${name}]`)?.checked ?? false]),
    );
    const plot = figure.querySelector(".plot");
    const names = [...new Set(chart.series.map((series) => series.name).filter(Boolean))];
    plot.style.setProperty("--entries", names.length > 1 ? names.length : 0);
    const told = `${plot.dataset.title}: ${y.label} against ${x.label}`;
    plot.setAttribute("aria-label", plain([told, ...(names.length ? [names.join(", ")] : [])].join(": ")));
    Plotly.react(plot, traces(chart, x, y), layout(chart, x, y, log), { displayModeBar: false, responsive: true });
    document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // where plotly measures texts
  };

  const start = (figure) => {
    const chart = JSON.parse(figure.querySelector("script").textContent);
    if (figure.querySelector(".controls")) controls(figure, chart);
    for (const name of ["x", "y"]) rescale(figure, chart, name);
    figure.addEventListener("change", (event) => {
      if (event.target.dataset.axis) rescale(figure, chart, event.target.dataset.axis);
      draw(figure, chart);
    });
    window.addEventListener("ditbench-theme", () => draw(figure, chart));
    draw(figure, chart);
  };

  document.addEventListener("ditbench-chart", (event) => start(event.target)); // one that was made later

  // A page may have dozens: what is near is drawn first, the others one by one when the browser has time, so that no
  // reader meets an empty one.
  const waiting = new Set(document.querySelectorAll("figure.chart"));
  const first = (figure) => {
    if (!waiting.delete(figure)) return;
    near.unobserve(figure);
    start(figure);
  };
  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => first(entry.target)),
    { rootMargin: "800px" },
  );
  const soon = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const rest = () => {
    if (!waiting.size) return;
    first(waiting.values().next().value);
    soon(rest);
  };
  for (const figure of waiting) near.observe(figure);
  window.addEventListener("load", () => soon(rest));
})();
