// `npm start <program>`: each program is a process of its own, as `endpointAdapter.withOptions()` counts for a whole process.

const programs = ["quickstart", "approval", "failures", "redirects", "token", "body", "streaming"];

const [name = "quickstart"] = process.argv.slice(2);
if (!programs.includes(name)) {
  console.error(`there is no program ${name}; there are ${programs.join(", ")}`);
  process.exit(2);
}
await import(`./${name}.js`);
