// Filters the rows of the pages of results and of claims. Without this script every row is shown and no form.
for (const form of document.querySelectorAll("form.row-filter")) {
  const selects = [...form.querySelectorAll("select")];
  const frames = [...document.querySelectorAll("div.rows")].filter(
    // Tables above the form, such as the summary, stay whole.
    (frame) => form.compareDocumentPosition(frame) & Node.DOCUMENT_POSITION_FOLLOWING,
  );
  const rows = frames.flatMap((frame) => {
    const columns = [...frame.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    return [...frame.querySelectorAll("tbody tr")].map((row) => {
      const values = { ...frame.dataset, ...row.dataset };
      columns.forEach((name, i) => (values[name] = row.cells[i].textContent.trim()));
      return { row, frame, values };
    });
  });

  const apply = () => {
    const wanted = selects.filter((select) => select.value);
    const left = new Set();
    let shown = 0;
    for (const { row, frame, values } of rows) {
      row.hidden = wanted.some((select) => values[select.name] !== select.value);
      if (!row.hidden) {
        shown += 1;
        left.add(frame);
      }
    }
    // A table without rows goes; one with rows is not looked for in vain because it is folded.
    for (const frame of frames) {
      const fold = frame.closest("details");
      (fold ?? frame).hidden = wanted.length > 0 && !left.has(frame);
      if (fold) fold.open = wanted.length > 0 && left.has(frame);
    }
    // So does a section that holds nothing but such tables.
    for (const section of document.querySelectorAll("section")) {
      const own = frames.filter((frame) => section.contains(frame));
      if (own.length && !section.contains(form)) {
        section.hidden = wanted.length > 0 && !own.some((frame) => left.has(frame));
      }
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };

  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The values change after the event of a reset, not before it.
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
}
