// Runs a panel's transformations through Grafana's own code, @grafana/data.
//
// Standard input: {"transformations": [...], "frames": [{"refId", "fields": [{"name", "type", "values"}]}]}.
// Standard output: the frames that the panel gets, in the same form, and the names of a node graph's fields.
"use strict";

// Looks for a browser when it is loaded, and takes `window` for one: so it is loaded before there is a `window`.
require("react-use");
// @grafana/data reads settings from `window` when it is loaded.
globalThis.window = Object.assign(new EventTarget(), { location: { pathname: "/", search: "" } });

const data = require("@grafana/data");

const transformers = ["mergeTransformer", "calculateFieldTransformer", "organizeFieldsTransformer"].map((name) => data.standardTransformers[name]);
data.standardTransformersRegistry.setInit(() =>
  transformers.map((each) => ({ id: each.id, name: each.name, transformation: each })),
);

let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => {
  const { transformations, frames } = JSON.parse(input);
  const given = frames.map((frame) => data.toDataFrame(frame));
  data.transformDataFrame(transformations, given).subscribe((found) => {
    const shown = found.map((frame) => ({
      refId: frame.refId,
      fields: frame.fields.map((field) => ({
        name: field.name,
        // What a table shows: `organize` gives a field this name only.
        shown: field.config.displayName || field.name,
        type: field.type,
        values: Array.from(field.values, (value) => (value === undefined ? null : value)),
      })),
    }));
    process.stdout.write(JSON.stringify({ frames: shown, names: data.NodeGraphDataFrameFieldNames }));
  });
});
