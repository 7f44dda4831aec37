// What makes a page easier to read. Without this script everything is there: wide things scroll in their own frames.

// An equation that is wider than the page is set smaller, down to two thirds; beyond that its frame scrolls.
const SMALLEST = 0.66;
const fit = (equation) => {
  const box = equation.querySelector("mjx-container");
  if (!box || !box.clientWidth) return;
  box.dataset.size ??= parseFloat(box.style.fontSize) || 100;
  box.style.fontSize = `${box.dataset.size}%`;
  const ratio = box.clientWidth / box.scrollWidth;
  if (ratio < 1) box.style.fontSize = `${box.dataset.size * Math.max(SMALLEST, ratio * 0.99)}%`;
  reachable(box, "Equation");
};

// What scrolls sideways can be scrolled by keyboard.
const reachable = (frame, name) => {
  const scrolls = frame.scrollWidth > frame.clientWidth + 1;
  if (scrolls && !frame.hasAttribute("tabindex")) {
    frame.tabIndex = 0;
    frame.setAttribute("role", "region");
    if (!frame.hasAttribute("aria-label")) frame.setAttribute("aria-label", name);
  }
};

const onWidth = (elements, act) => {
  const widths = new Map();
  const observer = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (widths.get(target) === contentRect.width) continue;
      widths.set(target, contentRect.width);
      act(target);
    }
  });
  for (const element of elements) observer.observe(element);
};

const captionOf = (frame) => {
  const caption = frame.closest("figure")?.querySelector("figcaption .caption-number");
  return caption ? caption.textContent.trim() : "Table";
};

// The theme's arrows beside the list of pages have no words for those who hear them.
const named = (toggle) => {
  const page = toggle.closest("li").querySelector("a").textContent.trim();
  toggle.setAttribute("aria-label", `Pages below ${page}`);
};

const start = () => {
  document.querySelectorAll(".bd-sidenav li > details > summary").forEach(named);
  const frames = [...document.querySelectorAll("article div.cell_output div.output")].filter((frame) =>
    frame.querySelector("table"),
  );
  onWidth(frames, (frame) => reachable(frame, captionOf(frame)));
  const equations = [...document.querySelectorAll("article div.math")];
  const typeset = () => window.MathJax.startup.promise.then(() => onWidth(equations, fit));
  const wait = () => (window.MathJax?.startup?.promise ? typeset() : setTimeout(wait, 50));
  if (equations.length && document.querySelector("script[src*=mathjax]")) wait();
};

// Whoever comes from the search lands on the first place that it found (Sphinx marks all of them).
const land = () => {
  if (window.location.hash) return;
  const found = [...document.querySelectorAll("article span.highlighted")];
  const first = found.find((each) => each.checkVisibility()) ?? found[0];
  first?.closest("details:not([open])")?.setAttribute("open", "");
  first?.scrollIntoView({ block: "center" });
};

// A link to what is folded opens it. Not every browser does so by itself.
const reveal = () => {
  const target = document.querySelector(":target");
  let fold = target?.closest("details:not([open])");
  if (!fold) return;
  for (; fold; fold = target.closest("details:not([open])")) fold.open = true;
  target.scrollIntoView();
};

start();
reveal();
window.addEventListener("hashchange", reveal);
window.addEventListener("load", () => setTimeout(land, 100));
