// On a narrow screen each row of a table is shown as a card (site.css); a cell says its column.
document.querySelectorAll("table.docutils").forEach((table) => {
  const titles = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  if (titles.length < 3) return; // two columns fit
  table.classList.add("cards");
  table.querySelectorAll("tbody tr").forEach((row) => {
    [...row.cells].forEach((cell, k) => {
      if (titles[k]) cell.dataset.title = titles[k];
      if (!cell.textContent.trim() && !cell.querySelector("img")) cell.classList.add("empty");
    });
  });
});
