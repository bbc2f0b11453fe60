// What `make lint` asks of the browser's modules. That every import names an export is for tests/web/test_modules.py.

import { createRequire } from "node:module";
import process from "node:process";

// eslint and its companions live in the virtual environment, not beside this file.
const globals = createRequire(`${process.cwd()}/.venv/eslint/`)("globals");

const rules = {
  eqeqeq: "error",
  "max-lines": ["error", { max: 350 }],
  "max-lines-per-function": ["error", { max: 60 }],
  "no-const-assign": "error",
  "no-dupe-args": "error",
  "no-dupe-keys": "error",
  "no-duplicate-imports": "error",
  "no-import-assign": "error",
  "no-redeclare": "error",
  "no-undef": "error",
  "no-unreachable": "error",
  "no-unused-vars": ["error", { ignoreRestSiblings: true }],
  "no-var": "error",
  "prefer-const": ["error", { destructuring: "all" }],
};

// Nothing in core/ needs a page: only what browsers and Node have in common, and workers where there are any.
const withoutPage = {
  ...Object.fromEntries(Object.keys(globals.browser).map((name) => [name, "off"])),
  ...globals["shared-node-browser"],
  Worker: "readonly",
};

export default [
  { ignores: ["viz/web/vendor/**"] },
  { files: ["**/*.js", "**/*.mjs"], rules },
  { files: ["viz/web/**/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["viz/web/core/**/*.js"], languageOptions: { globals: withoutPage } },
  { files: ["tests/web/*.mjs"], languageOptions: { globals: globals.node } },
];
