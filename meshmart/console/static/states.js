// The states of a replica: a word, and a shape of its own, so that nothing depends on colour alone.
export const STATES = ["ready", "starting", "draining", "ejected", "broken"];

// Paths around the origin, five units to each side.
export const SHAPES = {
  ready: "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z",
  starting: "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0ZM2.600 0A2.600 2.600 0 1 0-2.600 0A2.600 2.600 0 1 0 2.600 0Z",
  draining: "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0ZM3 0H-3A3 3 0 0 1 3 0Z",
  ejected: "M0-5.500L5.600 4.500H-5.600Z",
  broken: "M-5-3L-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z",
};

export function tally(replicas) {
  const counts = new Map();
  for (const replica of replicas) counts.set(replica.state, (counts.get(replica.state) ?? 0) + 1);
  return counts;
}

// Such as "2 ready, 1 ejected".
export function summary(replicas) {
  const counts = tally(replicas);
  const parts = STATES.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`);
  return parts.length ? parts.join(", ") : "no replicas";
}
