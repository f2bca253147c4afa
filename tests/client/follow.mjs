// Follows a configuration in Node, and writes what happens as lines of JSON. Arguments: module, options.
const {ConfigClient} = await import(process.argv[2]);
const client = new ConfigClient(JSON.parse(process.argv[3]));
const tell = (name, detail) => process.stdout.write(`${JSON.stringify([name, detail])}\n`);
for (const name of ["connected", "disconnected", "change", "rejected"]) {
  client.addEventListener(name, ({detail}) => tell(name, detail));
}
client.onChange("db.*", ({new: {db}}) => { if (db.pool > 50) throw new RangeError("too many"); });
tell("started", await client.start());
process.stdin.on("end", () => {
  globalThis.gc?.(); // with --expose-gc: what nothing holds any more is gone, as it is after a while
  setTimeout(() => client.close(), 50);
}).resume();
