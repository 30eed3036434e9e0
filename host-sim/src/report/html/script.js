// Sliders, keys, the filter and the order of the table of runs. Without it the page says the same.
"use strict";
(function () {
  const STEP = 30, LEFT = 84;
  const lives = Array.from(document.querySelectorAll("section.life"), function (section) {
    const steps = Array.from(section.querySelectorAll(".steps li"));
    const rows = section.querySelectorAll("figure tbody tr");
    const slider = section.querySelector(".slider"), sentence = section.querySelector(".sentence");
    const cursor = section.querySelector(".cursor"), drawing = section.querySelector(".drawing");
    let now = 0;
    function show(step) {
      steps[now].classList.remove("now");
      rows[now].classList.remove("now");
      now = Math.max(0, Math.min(steps.length - 1, step));
      steps[now].classList.add("now");
      rows[now].classList.add("now");
      slider.value = String(now);
      const words = (now + 1) + ". " + steps[now].textContent;
      slider.setAttribute("aria-valuetext", words);
      sentence.textContent = words;
      const x = LEFT + STEP * now;
      cursor.setAttribute("x", String(x));
      if (x < drawing.scrollLeft + LEFT || x > drawing.scrollLeft + drawing.clientWidth - 2 * STEP) {
        drawing.scrollLeft = x - drawing.clientWidth / 2;
      }
    }
    function conversion(by) {
      let at = now + by;
      while (at >= 0 && at < steps.length && steps[at].dataset.converts !== "1") at += by;
      if (at >= 0 && at < steps.length) show(at);
    }
    function go(where) {
      if (where === "next") show(now + 1);
      if (where === "back") show(now - 1);
      if (where === "conversion") conversion(1);
      if (where === "conversion-back") conversion(-1);
    }
    slider.addEventListener("input", function () { show(Number(slider.value)); });
    section.querySelectorAll("button[data-go]").forEach(function (button) {
      button.addEventListener("click", function () { go(button.dataset.go); });
    });
    section.querySelector(".controls").hidden = false;
    show(0);
    return { section: section, go: go };
  });
  // The keys move the page's life that is on the screen.
  function visible() {
    return lives.find(function (life) { return life.section.getBoundingClientRect().bottom > 80; }) || lives[0];
  }
  const KEYS = { n: "next", b: "back", N: "conversion", B: "conversion-back" };
  document.addEventListener("keydown", function (event) {
    const typing = event.target instanceof HTMLInputElement && event.target.type === "search";
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key] || !lives.length) return;
    visible().go(KEYS[event.key]);
    event.preventDefault();
  });
  document.querySelectorAll(".runs").forEach(function (runs) {
    const filter = runs.querySelector(".filter"), count = runs.querySelector(".count");
    const body = runs.querySelector("tbody"), rows = Array.from(body.rows);
    function sieve() {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      rows.forEach(function (row) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.includes(word); });
        if (!row.hidden) left += 1;
      });
      count.textContent = left + " of " + rows.length;
    }
    filter.addEventListener("input", sieve);
    runs.querySelector(".controls").hidden = false;
    sieve();
    runs.querySelectorAll("thead th").forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        const up = head.getAttribute("aria-sort") !== "ascending";
        runs.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = function (row) {
          const cell = row.cells[column], text = cell.dataset.value || cell.textContent;
          return text !== "" && !isNaN(Number(text)) ? Number(text) : text;
        };
        rows.slice().sort(function (one, other) {
          const a = value(one), b = value(other), order = a < b ? -1 : a > b ? 1 : 0;
          return up ? order : -order;
        }).forEach(function (row) { body.append(row); });
      });
    });
  });
  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target && target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    if (target) target.scrollIntoView({ block: "center" });
  }
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", function () {
    document.querySelectorAll("figure details").forEach(function (box) { box.open = true; });
  });
  reveal();
})();
