// Tables that can be sorted and filtered, by DataTables.
"use strict";
(() => {
  const PAGE = 100; // rows

  // The box that scrolls is the table's alone, so that the filter above it stays where it is.
  const scrollAlone = (region, table) => {
    const box = table.closest(".dt-layout-table");
    for (const name of ["role", "tabindex", "aria-label", "class"]) {
      box.setAttribute(name, name === "class" ? `${box.className} scroll` : region.getAttribute(name));
      region.removeAttribute(name);
    }
  };

  // The metric that ranks stays beside the name, which is as wide as its longest.
  const keepInSight = (table) => {
    const name = table.tHead.querySelector(".name");
    if (name) table.style.setProperty("--name", `${name.offsetWidth}px`);
  };

  const enhance = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const places = (wanted) => heads.flatMap((head, place) => (wanted(head) ? [place] : []));
    const region = table.closest(".scroll");
    new ITable(table, {
      order: [], // as ranked
      autoWidth: false,
      paging: table.tBodies[0].rows.length > PAGE,
      pageLength: PAGE,
      layout: { topStart: "search", topEnd: null, bottomStart: "info", bottomEnd: "paging" },
      language: {
        search: "Filter rows",
        entries: { _: "rows", 1: "row" },
        info: "_TOTAL_ _ENTRIES-TOTAL_",
        infoEmpty: "No rows",
        infoFiltered: "of _MAX_",
        zeroRecords: "No row matches.",
      },
      columnDefs: [
        { targets: places((head) => head.classList.contains("num")), type: "num" },
        { targets: places((head) => "fixed" in head.dataset), orderable: false }, // numbers of several protocols
        { targets: places((head) => head.dataset.first === "desc"), orderSequence: ["desc", "asc", ""] },
      ],
    });
    scrollAlone(region, table);
    keepInSight(table);
  };

  for (const table of document.querySelectorAll("table.sortable")) enhance(table);
})();
