// Runs in a page that holds others in frames; what is wrong with these is written to `#faults`.

const MIN_CONTRAST = 4.5;  // of text, by WCAG 2.2, level AA
const MIN_HEIGHT = 11;  // pixels
const MIN_LETTERS = 5;  // of a line, on average

/** Return red, green, blue and opacity of a color. */
function rgba(color) {
  const painter = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  painter.fillStyle = color;
  painter.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = painter.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function painted(color, under) {
  return [0, 1, 2].map(k => color[k] * color[3] + under[k] * (1 - color[3])).concat(1);
}

function luminance(color) {
  const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = color.slice(0, 3).map(v => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Return the contrast of an element's text with what is behind it. */
function contrast(view, element, canvas) {
  const layers = [];
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) {
    const style = view.getComputedStyle(at);
    opacity *= Number(style.opacity);
    layers.unshift(rgba(style.backgroundColor));
  }
  const behind = layers.reduce((under, layer) => painted(layer, under), canvas);
  const style = view.getComputedStyle(element);
  const color = rgba(element.closest("svg") ? style.fill : style.color);
  color[3] *= opacity;
  const both = [luminance(painted(color, behind)), luminance(behind)].sort((a, b) => b - a);
  return (both[0] + 0.05) / (both[1] + 0.05);
}

/** Return all texts that are seen, with one box for every line. */
function textsOf(view, page) {
  const texts = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement, said = node.data.trim();
    if (!said || ["STYLE", "title", "desc"].includes(element.tagName)) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const range = page.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter(b => b.width > 0.5 && b.height > 0.5);
    if (boxes.length) texts.push({said, element, boxes});
  }
  return texts;
}

function* faultsOfText(view, page, {said, element, boxes}, canvas) {
  const seen = contrast(view, element, canvas);
  if (seen < MIN_CONTRAST) yield `contrast ${seen.toFixed(2)}: ${said}`;
  if (boxes[0].height < MIN_HEIGHT) yield `${boxes[0].height.toFixed(1)} pixels high: ${said}`;
  if (boxes.length > 2 && said.length < MIN_LETTERS * boxes.length) yield `squeezed: ${said}`;
  if (boxes.some(b => b.left < -1 || b.right > view.innerWidth + 1)) yield `off the page: ${said}`;
  for (let at = element; at !== page.body; at = at.parentElement) {
    if (view.getComputedStyle(at).overflowX === "visible") continue;
    const a = at.getBoundingClientRect();
    const isOut = b =>
      b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 2 || b.bottom > a.bottom + 2;
    if (boxes.some(isOut)) yield `clipped: ${said}`;
  }
}

function* overlaps(page, texts) {
  const marks = [...page.querySelectorAll("svg, svg rect, .bar")]
    .filter(element => element.checkVisibility())
    .map(element => ({said: element.tagName, element, box: element.getBoundingClientRect()}));
  const boxes = texts.flatMap(text => text.boxes.map(box => ({...text, box})));
  for (const [k, one] of boxes.entries()) {
    const beside = marks.filter(mark => !mark.element.contains(one.element));
    for (const two of [...boxes.slice(k + 1), ...beside]) {
      const [a, b] = [one.box, two.box];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 2.5) yield `overlap: ${one.said} | ${two.said}`;
    }
  }
}

function* faultsOf(frame) {
  const view = frame.contentWindow, page = frame.contentDocument;
  const canvas = rgba(frame.dataset.scheme === "dark" ? "#121212" : "#fff");
  for (const part of page.querySelectorAll("details")) part.open = frame.dataset.open === "true";
  const texts = textsOf(view, page);
  for (const text of texts) yield* faultsOfText(view, page, text, canvas);
  yield* overlaps(page, texts);
  for (const element of page.querySelectorAll("body, body *")) {
    const isCut = view.getComputedStyle(element).overflowX !== "visible";
    if (isCut && element.clientWidth && element.scrollWidth > element.clientWidth + 1)
      yield `scrolls: ${element.className || element.tagName}`;
  }
  for (const element of page.querySelectorAll("body, body *"))
    if (element.checkVisibility() && element.getBoundingClientRect().right > view.innerWidth + 1)
      yield `wider than the page: ${element.outerHTML.slice(0, 60)}`;
  if (page.documentElement.scrollWidth > view.innerWidth) yield "the page scrolls sideways";
}

addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  const found = frames.flatMap(f => [...new Set(faultsOf(f))].map(fault => `${f.title}: ${fault}`));
  const out = document.createElement("pre");
  out.id = "faults";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
