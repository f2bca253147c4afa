// The client of Config Server for browsers and Node: one module, no dependencies. It follows one configuration over a
// WebSocket, else by server-sent events, else by polling, and goes on with what it holds while nothing answers.

const SUBPROTOCOL = "cfg.v1";
// Close codes that say that this way is no good, not that it is over.
const NO_GOOD = new Set([1002, 1007, 1009, 4400, 4502]);
const TIMINGS = {
  connect: 10_000, request: 10_000, heartbeats: 3, repoll: 300_000, poll: 30_000, backoff: 1000, backoffMost: 30_000,
  climb: 60_000, // all in milliseconds, but for `heartbeats`
};

export class ConfigError extends Error {
  constructor(message, status = 0, type = "") {
    super(message);
    this.name = "ConfigError";
    this.status = status;
    this.type = type;
  }
}

// Events: "change" (detail: {keys, old, new}), "rejected" ({reason, version}), "connected" ({transport}),
// "disconnected" ({reason}).
export class ConfigClient extends EventTarget {
  #options; #timings; #held = null; #told = null; #tag = ""; #revs = new Map(); #rev = ""; #refused = null;
  #handlers = new Set(); #abort = new AbortController(); #transport = ""; #failures = 0; #ways; #way = 0; #climbAt = 0;
  #onDisk = false;

  // `token` is a text, or a function that gives one or a promise of one. `transports` are some of "websocket", "sse",
  // "poll"; `storage` (localStorage, say) keeps the last configuration, readable for every script of the origin.
  constructor({url, service, env, label = "", token, instance = "", transports, timings = {}, storage = null}) {
    super();
    this.#options = {url: url.replace(/\/$/, ""), service, env, label, token, storage};
    this.#options.instance = instance || `js-${randomHex(6)}`;
    this.#timings = {...TIMINGS, ...timings};
    this.#ways = transports ?? ["websocket", "sse", "poll"];
    if (!globalThis.WebSocket) this.#ways = this.#ways.filter((way) => way !== "websocket");
  }

  get config() { return this.#holding().doc; }
  get version() { return this.#holding().version; }
  get etag() { return this.#holding().etag; }
  // The way that changes come by now; "" while none does.
  get transport() { return this.#transport; }
  // Why what is held may be old: the server's own reasons, "disk", "gone".
  get staleReasons() {
    const {stale = [], gone = false} = this.#holding();
    return [...stale.map(({reason}) => reason), ...(this.#onDisk ? ["disk"] : []), ...(gone ? ["gone"] : [])];
  }
  get stale() { return this.staleReasons.length > 0; }

  // What stands at a key such as `db.pool` or `hosts[0]`, else `missing`.
  get(key, missing = undefined) {
    const found = find(this.config, key);
    return found === undefined ? missing : found;
  }

  // Calls `handler({keys, old, new})` before a change of a key that `pattern` names (`db.*`, `*`) is there. If it
  // throws, or its promise rejects, the former configuration stays, and the server is told why. Returns what ends it.
  onChange(pattern, handler) {
    const entry = {pattern: matcher(pattern), handler};
    this.#handlers.add(entry);
    return () => this.#handlers.delete(entry);
  }

  // Gets the configuration, from `storage` while the server is away, and follows it until `close`. Rejects with a
  // ConfigError when the server says no, or nothing can be had.
  async start() {
    try {
      await this.#poll();
    } catch (error) {
      const stored = error.final ? null : this.#stored();
      if (!stored) throw error;
      this.#held = this.#told = stored;
      this.#onDisk = true;
    }
    this.#run();
    return this.config;
  }

  close() { this.#abort.abort(); this.#transport = ""; }

  #holding() {
    if (!this.#held) throw new ConfigError("there is no configuration yet: await start() first");
    return this.#held;
  }

  get #topic() {
    const {service, env, label} = this.#options;
    return label ? `${service}/${env}/${label}` : `${service}/${env}`;
  }

  // --- following

  async #run() {
    const {signal} = this.#abort;
    const polling = setInterval(() => this.#poll().catch(() => {}), spread(this.#timings.repoll));
    signal.addEventListener("abort", () => clearInterval(polling));
    while (!signal.aborted) {
      const way = this.#ways[this.#way];
      const end = await this.#follow(way).catch((error) => ({reason: error.message, ...error}));
      this.#transport = "";
      if (signal.aborted) return;
      this.#emit("disconnected", {transport: way, reason: end.reason ?? ""});
      await pause(this.#nextPause(end), signal);
    }
  }

  // Which way is next, and how long until then (milliseconds, full jitter).
  #nextPause({worked = false, refused = false, code = 0, backIn = null, retryAfter = 0, climb = false}) {
    if (climb) {
      this.#way = 0;
      return 0;
    }
    if (worked) this.#failures = 0;
    if (backIn !== null && !NO_GOOD.has(code)) return backIn;
    this.#failures += 1;
    const given = refused || NO_GOOD.has(code) || (!worked && this.#failures % 2 === 0);
    if (given && this.#way < this.#ways.length - 1) {
      this.#way += 1;
      this.#climbAt = Date.now() + spread(this.#timings.climb);
      if (refused) return retryAfter;
    }
    const most = Math.min(this.#timings.backoffMost, this.#timings.backoff * 2 ** Math.min(this.#failures - 1, 20));
    return retryAfter + Math.random() * most;
  }

  #follow(way) {
    const ways = {websocket: () => this.#followSocket(), sse: () => this.#followEvents(), poll: () => this.#followByPolling()};
    return ways[way]();
  }

  #connected(way) {
    this.#transport = way;
    this.#failures = 0;
    this.#emit("connected", {transport: way});
  }

  get #mustClimb() { return this.#way > 0 && Date.now() >= this.#climbAt; }

  async #followByPolling() {
    for (;;) {
      await this.#poll();
      if (this.#transport !== "poll") this.#connected("poll");
      await pause(Math.min(spread(this.#timings.poll), Math.max(0, this.#climbAt - Date.now())), this.#abort.signal);
      if (this.#abort.signal.aborted) return {};
      if (this.#mustClimb) return {climb: true, reason: "trying a better way"};
    }
  }

  async #ticket() {
    const answer = await this.#ask("/v1/tickets", {method: "POST"});
    return (await answer.json()).ticket;
  }

  async #followSocket() {
    const ticket = await this.#ticket();
    const socket = new WebSocket(`${this.#options.url.replace(/^http/, "ws")}/v1/stream`, [SUBPROTOCOL, `ticket.${ticket}`]);
    const talk = new Talk(this, "websocket", (frame) => socket.send(JSON.stringify(frame)));
    return new Promise((resolve) => {
      const finish = (end) => {
        talk.stop();
        this.#abort.signal.removeEventListener("abort", leave);
        socket.onmessage = socket.onclose = socket.onerror = null;
        if (socket.readyState < 2) socket.close();
        resolve({worked: talk.syncs > 0, code: talk.code, backIn: talk.backIn, ...end});
      };
      const leave = () => finish({reason: "closed"});
      this.#abort.signal.addEventListener("abort", leave);
      talk.watch(this.#timings.connect, finish);
      socket.onopen = () => talk.subscribe();
      socket.onmessage = ({data}) => talk.hear(data, finish);
      socket.onclose = ({code}) => finish({code: talk.code || code, reason: `closed by ${code}`});
    });
  }

  async #followEvents() {
    const stop = new AbortController();
    const leave = () => stop.abort();
    this.#abort.signal.addEventListener("abort", leave);
    const etag = this.#told ? `&etag=${this.#told.etag}` : "";
    const patches = canDigest() ? "&accept=patch" : "";
    const talk = new Talk(this, "sse", (frame) => this.#acknowledge(talk, frame));
    let end = {reason: "the stream has ended"};
    const finish = (why) => { end = why; stop.abort(); };
    talk.watch(this.#timings.connect, finish);
    try {
      const path = `/v1/events?topic=${encodeURIComponent(this.#topic)}${etag}${patches}`;
      const answer = await this.#ask(path, {signal: stop.signal, headers: {Accept: "text/event-stream"}});
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      // Node may forget the signal of an answer that is long under way, so the reading is ended as well.
      stop.signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
      let text = "";
      for (;;) {
        const {value, done} = await reader.read();
        if (done) break;
        const events = (text + value).split(/\r?\n\r?\n/);
        text = events.pop();
        for (const event of events) {
          const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, ""));
          if (data.length) await talk.hear(data.join("\n"), finish);
        }
      }
    } catch (error) {
      if (!stop.signal.aborted) end = {reason: error.message, refused: error.refused, retryAfter: error.retryAfter};
    } finally {
      talk.stop();
      this.#abort.signal.removeEventListener("abort", leave);
    }
    return {worked: talk.syncs > 0, code: talk.code, backIn: talk.backIn, ...end};
  }

  // A stream by HTTP is acknowledged by HTTP, when it is known everywhere; one at a time, since of two that are under way
  // the former may arrive last. The next one makes up for one that is lost.
  #acknowledge(talk, {type: _type, ...said}) {
    this.#acknowledged = this.#acknowledged.then(async () => {
      await pause(Math.max(0, talk.since + 1500 - Date.now()), this.#abort.signal);
      if (this.#abort.signal.aborted || !talk.alive) return;
      const body = JSON.stringify({conn: talk.connection, ...said});
      await this.#ask("/v1/acks", {method: "POST", body, headers: {"Content-Type": "application/json"}})
        .catch((error) => console.debug("an acknowledgement was not taken:", error.message));
    });
  }
  #acknowledged = Promise.resolve();

  // --- asking

  async #token() {
    const {token} = this.#options;
    return (typeof token === "function" ? await token() : token).trim();
  }

  // Throws a ConfigError: `final` if asking again does not help, `refused` if another way may be better.
  async #ask(path, {headers = {}, signal, ...options} = {}) {
    const about = {Authorization: `Bearer ${await this.#token()}`, "X-Config-Instance": this.#options.instance, ...headers};
    const limit = signal ?? AbortSignal.timeout(this.#timings.request);
    const answer = await fetch(this.#options.url + path, {cache: "no-store", redirect: "error", ...options, headers: about, signal: limit});
    if (answer.ok || answer.status === 304) return answer;
    const problem = await answer.json().catch(() => ({}));
    const type = String(problem.type ?? "").replace("urn:config-server:", "");
    const error = new ConfigError(`${answer.status} ${type}: ${problem.detail ?? answer.statusText}`, answer.status, type);
    error.final = answer.status >= 400 && answer.status < 500 && ![401, 408, 422, 425, 429].includes(answer.status);
    error.refused = error.final;
    error.retryAfter = 1000 * (Number(answer.headers.get("Retry-After")) || 0);
    throw error;
  }

  async #poll() {
    const {service, env, label} = this.#options;
    const query = label ? `?label=${encodeURIComponent(label)}` : "";
    const headers = {Accept: "application/json"};
    if (this.#tag) headers["If-None-Match"] = this.#tag;
    if (this.#rev) headers["X-Config-Rev"] = this.#rev;
    const answer = await this.#ask(`/v1/config/${encodeURIComponent(service)}/${encodeURIComponent(env)}${query}`, {headers});
    const rev = answer.headers.get("X-Config-Rev") ?? "";
    if (this.isOlder(rev)) throw new ConfigError("the answer is older than what is held");
    this.saw(rev);
    if (answer.status === 304) {
      this.#onDisk = false;
      return;
    }
    const body = await answer.json();
    const {version, head, etag, stale, config: doc} = body;
    const taken = await this.take({topic: `${body.service}/${body.env}/${body.label}`, doc, version, head, etag, stale});
    if (taken) this.#tag = answer.headers.get("ETag") ?? "";
  }

  // --- what a Talk uses

  get told() { return this.#told; }
  set told(document) { this.#told = document; }
  get rev() { return this.#rev; }
  get timings() { return this.#timings; }
  get subscription() {
    const {instance} = this.#options;
    return {
      type: "subscribe",
      topics: [{name: this.#topic, ...(this.#told ? {etag: this.#told.etag} : {})}],
      accept: canDigest() ? ["put", "patch"] : ["put"],
      client: {instance, version: "js-0.1.0"},
      ...(this.#rev ? {since: this.#rev} : {}),
    };
  }

  connected(way) { this.#connected(way); }
  mustClimb() { return this.#mustClimb; }
  renewed() { return this.#token(); }

  isOlder(rev) {
    const [epoch, number] = split(rev);
    return number < (this.#revs.get(epoch) ?? 0);
  }

  saw(rev) {
    const [epoch, number] = split(rev);
    if (!epoch || this.isOlder(rev)) return;
    this.#revs.delete(epoch);
    this.#revs.set(epoch, number);
    this.#rev = rev;
    if (this.#revs.size > 16) this.#revs.delete(this.#revs.keys().next().value);
  }

  // Shows a document to the program. Returns whether it is what is held afterwards; one at a time.
  take(document) {
    this.#told = document;
    this.#taking = this.#taking.then(() => this.#judge(document), () => this.#judge(document));
    return this.#taking;
  }
  #taking = Promise.resolve();

  async #judge(document) {
    if (document.gone) {
      if (this.#held) this.#held = {...this.#held, gone: true};
      return false;
    }
    const old = this.#held;
    if (old && old.etag === document.etag) {
      this.#held = Object.freeze({...document, doc: old.doc});
      this.#onDisk = false;
      return true;
    }
    if (this.#refused?.etag === document.etag) return false;
    const doc = deepFreeze(document.doc);
    const keys = old ? changedKeys(old.doc, doc) : [];
    const change = {keys, old: old?.doc ?? null, new: doc};
    const reason = old ? await this.#refusal(change) : null;
    if (reason !== null) {
      this.#refused = {etag: document.etag, reason};
      this.#emit("rejected", {reason, version: document.version});
      return false;
    }
    this.#refused = null;
    this.#held = Object.freeze({...document, doc});
    this.#onDisk = false;
    this.#tag = "";
    this.#store();
    if (keys.length) this.#emit("change", change);
    return true;
  }

  // Why a handler does not take the change; those that had taken it are called once more with the way back.
  async #refusal(change) {
    const taken = [];
    for (const {pattern, handler} of [...this.#handlers]) {
      if (!change.keys.some((key) => pattern.test(key))) continue;
      try {
        await handler(change);
        taken.push(handler);
      } catch (error) {
        const back = {...change, old: change.new, new: change.old, reverted: true};
        for (const each of taken.reverse()) await Promise.resolve(back).then(each).catch((again) => console.error(again));
        return `${error?.name ?? "Error"}: ${error?.message ?? error}`.slice(0, 600);
      }
    }
    return null;
  }

  // What to acknowledge of the document that was told last, if that is decided.
  verdict(topic) {
    const told = this.#told;
    const about = {type: "ack", rev: this.#rev, topic, etag: told?.etag};
    if (!told || !this.#rev) return null;
    if (this.#refused?.etag === told.etag) return {...about, status: "rejected", reason: this.#refused.reason};
    return this.#held?.etag === told.etag ? {...about, status: "applied"} : null;
  }

  #emit(name, detail) { this.dispatchEvent(Object.assign(new Event(name), {detail})); }

  // --- keeping

  get #place() { return `config-client ${this.#options.url} ${this.#topic}`; }

  #store() {
    try {
      this.#options.storage?.setItem(this.#place, JSON.stringify(this.#held));
    } catch (error) {
      console.warn("the configuration cannot be kept:", error.name);
    }
  }

  #stored() {
    try {
      const document = JSON.parse(this.#options.storage?.getItem(this.#place) ?? "null");
      return document?.etag && document.doc ? Object.freeze({...document, doc: deepFreeze(document.doc)}) : null;
    } catch {
      return null;
    }
  }
}

// One stream: frames in, what is said in return, and how long silence may last.
class Talk {
  #client; #way; #say; #staged = null; #told; #topic = ""; #timer = null; #finish = null; #heartbeat = 0; #mismatches = 0;
  #acked = 0; #acking = null; #heard = Promise.resolve();
  syncs = 0; code = 0; backIn = null; connection = ""; since = Date.now(); alive = true;

  constructor(client, way, say) {
    this.#client = client;
    this.#way = way;
    this.#say = say;
    this.#told = client.told;
  }

  subscribe() { this.#say(this.#client.subscription); }

  watch(milliseconds, finish) {
    clearTimeout(this.#timer);
    this.#finish = finish;
    this.#timer = setTimeout(() => finish({reason: "nothing was heard in time"}), milliseconds);
  }

  stop() {
    this.alive = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#acking);
  }

  // In order, however long a digest takes.
  hear(text, finish) {
    if (this.#heartbeat) this.watch(this.#client.timings.heartbeats * this.#heartbeat, finish);
    this.#heard = this.#heard.then(() => (this.alive ? this.#frame(text, finish) : undefined));
    return this.#heard;
  }

  async #frame(text, finish) {
    try {
      const frame = JSON.parse(text);
      const heard = {
        hello: () => this.#hello(frame, finish), subscribed: () => { [this.#topic] = frame.topics; },
        change: () => this.#change(frame), sync: () => this.#sync(frame, finish),
        auth_expiring: () => this.#expiring(finish), error: () => this.#error(frame, finish),
        goodbye: () => { this.backIn = frame.retry_ms; this.code = frame.code; },
      }[frame.type];
      await heard?.();
    } catch (error) {
      this.#mismatch(error, finish);
    }
  }

  #hello({conn, hb_ms}, finish) {
    this.connection = conn;
    this.#heartbeat = hb_ms;
    this.watch(this.#client.timings.heartbeats * hb_ms, finish);
  }

  async #change(frame) {
    const former = this.#staged ?? this.#told;
    const {topic, etag, version, head, stale} = frame;
    const about = {topic, etag, version, head, stale, gone: false};
    if (frame.op === "del") this.#staged = {...former, gone: true};
    else if (frame.op === "state") {
      if (former?.etag !== etag) throw new Error("the state of another document");
      this.#staged = {...former, ...about};
    } else {
      if (frame.op === "patch" && former?.etag !== frame.base) throw new Error("a patch of another document");
      const doc = frame.op === "put" ? frame.doc : patched(former.doc, frame.patch);
      if (canDigest() && await digest(doc) !== frame.sum) throw new Error("the sum is another one");
      this.#staged = {...about, doc};
    }
  }

  async #sync({rev}, finish) {
    const staged = this.#staged;
    this.#staged = null;
    if (!this.#topic || this.#client.isOlder(rev)) return;
    this.#client.saw(rev);
    this.syncs += 1;
    if (this.syncs === 1) this.#client.connected(this.#way);
    if (staged) {
      this.#told = staged;
      this.#client.take(staged).then(() => this.#acknowledge());
    } else if (this.syncs === 1) this.#acknowledge();
    if (this.#client.mustClimb()) finish({climb: true, reason: "trying a better way"});
  }

  // Soon, and never so often that the server would mind; the last word counts.
  #acknowledge() {
    if (this.#acking || !this.alive) return;
    this.#acking = setTimeout(() => {
      this.#acking = null;
      this.#acked = Date.now();
      const said = this.alive ? this.#client.verdict(this.#topic) : null;
      if (said && said.etag === this.#told?.etag) this.#say(said);
    }, Math.max(0, this.#acked + 700 - Date.now()));
  }

  async #expiring(finish) {
    if (this.#way === "sse") return; // its stream ends with the token; the next one begins with another
    const token = await this.#client.renewed().catch(() => null);
    if (token && this.alive) this.#say({type: "auth", token});
  }

  #error({topic, retry, code}, finish) {
    if (topic === undefined || retry) return;
    this.backIn = this.#client.timings.backoffMost * (0.5 + Math.random() / 2);
    finish({reason: code});
  }

  #mismatch(error, finish) {
    this.#staged = this.#told = null;
    this.#client.told = null;
    this.#mismatches += 1;
    if (this.#way === "websocket" && this.#mismatches <= 2) this.subscribe();
    else finish({reason: error.message});
  }
}

// --- pure

function split(rev) {
  const at = rev.lastIndexOf(".");
  return at < 0 ? ["", 0] : [rev.slice(0, at), Number(rev.slice(at + 1))];
}

const spread = (milliseconds) => milliseconds * (0.8 + 0.4 * Math.random());

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => { clearTimeout(timer); signal.removeEventListener("abort", done); resolve(); };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

// Of an id, which is no secret.
const randomHex = (digits) => Array.from({length: digits}, () => Math.floor(16 * Math.random()).toString(16)).join("");

// Pages without TLS have no digests, and Node 18 has none; they take whole documents, unproved.
const canDigest = () => globalThis.crypto?.subtle !== undefined;

export async function digest(document) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonical(document)));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// RFC 8785: JavaScript's own numbers and texts, keys by UTF-16 code units.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

// RFC 6902 as cfg.v1 uses it: add, remove, replace; the given document is left as it is.
export function patched(document, operations) {
  return operations.reduce((made, {op, path, value}) => {
    const steps = path.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
    return changedAt(made, steps, op, value);
  }, document);
}

function changedAt(node, [name, ...rest], op, value) {
  if (name === undefined) return value;
  const isLeaf = rest.length === 0;
  if (node === null || typeof node !== "object" || (!Object.hasOwn(node, name) && !(isLeaf && op === "add"))) {
    throw new Error("a patch leads nowhere");
  }
  const copy = Array.isArray(node) ? [...node] : Object.assign(Object.create(null), node);
  if (isLeaf && op === "remove") Array.isArray(copy) ? copy.splice(Number(name), 1) : delete copy[name];
  else copy[name] = changedAt(node[name], rest, op, value);
  return copy;
}

function deepFreeze(value) {
  if (value && typeof value === "object") Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}

const SEGMENT = /\[(0|[1-9]\d*)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.[\]]+)/y;

export function find(document, key) {
  let position = 0;
  let found = document;
  while (position < key.length) {
    SEGMENT.lastIndex = position;
    const match = SEGMENT.exec(key);
    if (!match) return undefined;
    const name = match[1] ?? (match[2] ? JSON.parse(match[2]) : match[3]);
    if (found === null || typeof found !== "object" || !Object.hasOwn(found, name)) return undefined;
    found = found[name];
    position = SEGMENT.lastIndex;
  }
  return found;
}

function below(parent, name, isList) {
  if (isList) return `${parent}[${name}]`;
  if (/^[\p{L}\p{N}_-]+$/u.test(name)) return parent ? `${parent}.${name}` : name;
  return `${parent}[${JSON.stringify(name)}]`;
}

// The key paths of the leaves that are new, gone or different.
export function changedKeys(old, now, key = "") {
  const isList = Array.isArray(now);
  const both = [old, now].every((side) => side && typeof side === "object" && Object.keys(side).length > 0);
  if (both && Array.isArray(old) === isList) {
    const names = new Set([...Object.keys(now), ...Object.keys(old)]);
    return [...names].flatMap((name) => changedKeys(old[name], now[name], below(key, name, isList)));
  }
  return canonical(old ?? null) === canonical(now ?? null) && (old === undefined) === (now === undefined)
    ? []
    : [...new Set([now, old].filter((side) => side !== undefined).flatMap((side) => leaves(side, key)))];
}

function leaves(value, key) {
  if (!value || typeof value !== "object" || Object.keys(value).length === 0) return [key];
  return Object.keys(value).flatMap((name) => leaves(value[name], below(key, name, Array.isArray(value))));
}

function matcher(pattern) {
  const stem = pattern.endsWith(".*") ? pattern.slice(0, -2) : pattern;
  const body = stem.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${body}${stem === pattern ? "" : "(?:[.[].*)?"}(?![^.[])`, "s");
}
