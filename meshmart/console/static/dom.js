// Elements from data. Text is set as text, never as markup: names come from other processes.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

// Unlike an assignment to `hidden`, this changes nothing if it is so already.
export function hide(element, so) {
  element.toggleAttribute("hidden", Boolean(so));
}

export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// Keeps one child per item, in the items' order: an element stays the same while its item is there, so that
// focus, selection and transitions survive an update.
export function keyed(parent, items, key, make, update) {
  const old = parent.keyed ?? new Map();
  const present = new Map();
  let before = parent.firstChild;
  for (const item of items) {
    const name = key(item);
    const child = old.get(name) ?? make(item);
    update(child, item);
    present.set(name, child);
    if (child === before) before = before.nextSibling;
    else parent.insertBefore(child, before);
  }
  for (const [name, child] of old) if (!present.has(name)) child.remove();
  parent.keyed = present;
}
