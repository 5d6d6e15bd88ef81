// The settings of a run, and those in which another differs. Their fields come as scripts, since a page of a file can
// fetch nothing: what all runs of a board have alike in one, what a run has of its own in another.
"use strict";
const ditbench = (() => {
  // Of a record, by the part of a field's name before the first dot; those without one come first.
  const SECTIONS = {
    "": "Run",
    track: "Track",
    recipe: "Recipe",
    objective: "Objective",
    data: "Data",
    architecture: "Architecture",
    environment: "Environment",
    training: "Training",
    sampling: "Sampling",
    metric: "Metrics",
  };
  const LONGEST = 300; // characters of a value
  const form = document.getElementById("compare");
  const ownOf = {}; // run -> [its board, chart of its error or null, [[place in the order of suspicion, name, value]]]
  const sharedOf = {}; // board -> the same fields

  const load = (source) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${source} is missing.`));
      document.head.append(script);
    });

  const fieldsOf = async (run) => {
    if (!Object.hasOwn(ownOf, run)) await load(`${encodeURIComponent(run)}.js`);
    const [board, , own] = ownOf[run];
    if (!Object.hasOwn(sharedOf, board)) await load(`../boards/${encodeURIComponent(board)}.js`);
    return [...sharedOf[board], ...own];
  };

  const spell = (value) => {
    if (value === null || value === undefined) return "—";
    if (typeof value === "boolean") return value ? "on" : "off";
    const text = Array.isArray(value) ? value.map(spell).join(", ") : String(value);
    return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  };

  const made = (tag, text, ...children) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    element.append(...children);
    return element;
  };

  const facts = (fields) => {
    const list = made("dl");
    list.className = "facts";
    const pair = ([name, value]) => made("div", "", made("dt", spell(name)), made("dd", spell(value)));
    list.append(...fields.map(pair));
    return list;
  };

  const settings = (fields) => {
    const found = Object.fromEntries(Object.keys(SECTIONS).map((section) => [section, []]));
    for (const [, name, value] of fields) {
      const [section, ...rest] = name.split(".");
      if (rest.length) found[section]?.push([rest.join("."), value]);
      else found[""].push([name, value]);
    }
    const shown = Object.keys(SECTIONS).filter((section) => found[section].length);
    return shown.map((section) => {
      const part = made("details", "", made("summary", SECTIONS[section]), facts(found[section].sort()));
      part.open = section === "";
      return part;
    });
  };

  const differences = (ours, theirs) => {
    const values = (fields) => new Map(fields.map(([, name, value]) => [name, value ?? null]));
    const [one, other] = [values(ours), values(theirs)];
    const places = new Map([...ours, ...theirs].map(([place, name]) => [name, place]));
    return [...places]
      .filter(([name]) => JSON.stringify(one.get(name) ?? null) !== JSON.stringify(other.get(name) ?? null))
      .sort(([a, p], [b, q]) => p - q || (a < b ? -1 : 1))
      .map(([name]) => [name, spell(one.get(name)), spell(other.get(name))]);
  };

  const row = ([name, ...values]) => {
    const head = made("th", name);
    head.scope = "row";
    return made("tr", "", head, ...values.map((value) => made("td", value)));
  };

  // The denoising errors of both in one plot, which plots.js draws.
  const drawErrors = (ours, theirs) => {
    const place = document.getElementById("difference-errors");
    place.replaceChildren();
    if (!ours || !theirs) return;
    const title = "Denoising error of both";
    const plot = Object.assign(made("div"), { className: "plot", role: "img", ariaLabel: title });
    plot.dataset.title = title;
    const chart = { ...ours, series: [...ours.series, ...theirs.series.map((of) => ({ ...of, variant: 1 }))] };
    const data = Object.assign(made("script", JSON.stringify(chart)), { type: "application/json" });
    const note = " On held-out images, by the level of noise; the averaged weights.";
    const figure = made("figure", "", made("figcaption", "", made("strong", `${title}.`), note), plot, data);
    figure.className = "chart";
    place.append(figure);
    figure.dispatchEvent(new CustomEvent("ditbench-chart", { bubbles: true }));
  };

  const compare = async () => {
    const table = document.getElementById("differences");
    const status = document.getElementById("differing");
    const other = form.elements.other.value;
    table.hidden = !other;
    status.textContent = "";
    drawErrors();
    if (!other) return;
    try {
      const found = differences(...(await Promise.all([fieldsOf(form.dataset.run), fieldsOf(other)])));
      if (other !== form.elements.other.value) return; // another was chosen meanwhile
      drawErrors(ownOf[form.dataset.run][1], ownOf[other][1]);
      table.tBodies[0].replaceChildren(...found.map(row));
      table.hidden = !found.length;
      const count = found.length === 1 ? "1 setting differs" : `${found.length} settings differ`;
      status.textContent = found.length ? `${count}, most important first.` : "All settings are the same.";
    } catch (error) {
      if (other !== form.elements.other.value) return;
      table.hidden = true;
      status.textContent = error.message;
    }
  };

  form.addEventListener("change", compare);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("DOMContentLoaded", async () =>
    document.getElementById("fields").append(...settings(await fieldsOf(form.dataset.run))),
  );

  return {
    fields: (run, board, errors, fields) => {
      ownOf[run] = [board, errors, fields];
    },
    shared: (board, fields) => {
      sharedOf[board] = fields;
    },
    runs: (boards) => {
      const own = ([, runs]) => runs.some(([run]) => run === form.dataset.run);
      for (const [title, runs] of [...boards.filter(own), ...boards.filter((board) => !own(board))]) {
        const group = document.createElement("optgroup");
        group.label = title;
        group.append(...runs.filter(([run]) => run !== form.dataset.run).map(([run, name]) => new Option(name, run)));
        if (group.children.length) form.elements.other.append(group);
      }
    },
  };
})();
