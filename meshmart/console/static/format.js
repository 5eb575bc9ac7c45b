// Figures as text. A missing figure is a dash.
export const DASH = "–";

export function rate(value) {
  if (!value) return "0/s";
  if (value < 0.1) return "<0.1/s";
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")}/s`;
}

// Never rounded up to 100 %: a single failure must show.
export function success(of) {
  if (!of.rate) return DASH;
  const percent = 100 * (1 - (of.failing_rate || 0) / of.rate);
  if (percent >= 100) return "100 %";
  return `${Math.min(99.9, Math.floor(percent * 10) / 10).toFixed(1)} %`;
}

export function seconds(value) {
  if (value === undefined || value === null) return DASH;
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.0995) return `${(value * 1e3).toPrecision(2)} ms`;
  return value < 1 ? `${Math.round(value * 1e3)} ms` : `${value.toPrecision(3)} s`;
}

export function percent(share) {
  return share === undefined ? DASH : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

export function count(value) {
  return (value || 0).toLocaleString("en");
}

export function span(value) {
  const left = Math.max(0, value);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (left >= 2 * size) return `${Math.floor(left / size)} ${unit}`;
  }
  return `${Math.floor(left)} s`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function plural(number, what) {
  return `${count(number)} ${what}${number === 1 ? "" : what.endsWith("s") ? "es" : "s"}`;
}
