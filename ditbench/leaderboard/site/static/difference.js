// What two runs did not do alike. Their fields come as scripts, since a page of a file can fetch nothing.
"use strict";
const ditbench = (() => {
  const form = document.getElementById("compare");
  const fieldsOf = {}; // run -> [[place in the order of suspicion, name, value]]

  const load = (run) =>
    new Promise((resolve, reject) => {
      if (Object.hasOwn(fieldsOf, run)) return resolve(fieldsOf[run]);
      const script = document.createElement("script");
      script.src = `${encodeURIComponent(run)}.js`;
      script.onload = () => resolve(fieldsOf[run]);
      script.onerror = () => reject(new Error(`The fields of ${run} are missing.`));
      document.head.append(script);
    });

  const spell = (value) => {
    if (value === null || value === undefined) return "—";
    return Array.isArray(value) ? value.map(spell).join(", ") : String(value);
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
    const made = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    made.append(head, ...values.map((value) => Object.assign(document.createElement("td"), { textContent: value })));
    return made;
  };

  const compare = async () => {
    const table = document.getElementById("differences");
    const status = document.getElementById("differing");
    const other = form.elements.other.value;
    table.hidden = !other;
    status.textContent = "";
    if (!other) return;
    try {
      const found = differences(...(await Promise.all([load(form.dataset.run), load(other)])));
      if (other !== form.elements.other.value) return; // another was chosen meanwhile
      table.tBodies[0].replaceChildren(...found.map(row));
      table.hidden = !found.length;
      const count = found.length === 1 ? "1 field differs" : `${found.length} fields differ`;
      status.textContent = found.length ? `${count}, most suspicious first.` : "The two name the same protocol.";
    } catch (error) {
      if (other !== form.elements.other.value) return;
      table.hidden = true;
      status.textContent = error.message;
    }
  };

  form.addEventListener("change", compare);
  form.addEventListener("submit", (event) => event.preventDefault());

  return {
    fields: (run, fields) => {
      fieldsOf[run] = fields;
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
