// What a page of an application does: it trades its token for tickets, opens streams with them, and keeps what it is
// told. The tests call these functions and read `told`.
"use strict";

const SERVER = new URLSearchParams(location.search).get("server");
// a stream's name -> {frames: texts, ids: event ids, protocol, status, ended: close code or why, ends: an EventSource's}
let told = {};
let open = {}; // a stream's name -> what `leave` closes
const TYPES = ["hello", "subscribed", "change", "sync", "auth_expiring", "goodbye"];

// One request; of the answer's headers those that this page may see.
async function ask(path, options) {
  try {
    const answer = await fetch(SERVER + path, options);
    return {status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text()};
  } catch (error) {
    return {refused: String(error)};
  }
}

function opened(name, closing) {
  open[name] = closing;
  told[name] = {frames: [], ids: [], protocol: null, status: null, ended: null, ends: []};
  return told[name];
}

function openSocket(name, ticket) {
  const socket = new WebSocket(SERVER.replace("http", "ws") + "/v1/stream", ["cfg.v1", `ticket.${ticket}`]);
  const record = opened(name, socket);
  socket.onopen = () => { record.protocol = socket.protocol; };
  socket.onmessage = (event) => record.frames.push(event.data);
  socket.onclose = (event) => { record.ended = event.code; };
}

function say(name, frame) {
  open[name].send(JSON.stringify(frame));
}

function openEvents(name, ticket, query, headers) {
  const abort = new AbortController();
  const record = opened(name, {close: () => abort.abort()});
  const options = {headers: {Authorization: `Ticket ${ticket}`, ...headers}, signal: abort.signal};
  follow(`${SERVER}/v1/events?${query}`, options, record).then(
    () => { record.ended = "end"; },
    (error) => { record.ended = String(error); },
  );
}

async function follow(url, options, record) {
  const answer = await fetch(url, options);
  record.status = answer.status;
  record.headers = Object.fromEntries(answer.headers);
  if (answer.ok) await read(answer.body.pipeThrough(new TextDecoderStream()).getReader(), record);
}

async function read(reader, record) {
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      keep(record, fields.event, fields.data, fields.id);
    }
  }
}

function keep(record, type, data, id) {
  if (JSON.parse(data).type !== type) record.ended = `an event ${type} brought ${data}`;
  record.frames.push(data);
  if (id) record.ids.push(id);
}

// The browser's own reader. Its event `error` is a frame when it has data, else the connection's trouble.
function openSource(name, ticket, query) {
  const source = new EventSource(`${SERVER}/v1/events?${query}&ticket=${ticket}`);
  const record = opened(name, source);
  for (const type of TYPES) {
    source.addEventListener(type, (event) => keep(record, type, event.data, type === "sync" && event.lastEventId));
  }
  source.addEventListener("error", (event) => {
    if (event.data !== undefined) return keep(record, "error", event.data);
    record.ended = source.readyState === EventSource.CLOSED ? "closed" : "reconnecting";
    record.ends.push(record.ended);
  });
}

function leave(name) {
  open[name].close();
}

function leaveAll() {
  Object.values(open).forEach((each) => each.close());
  [told, open] = [{}, {}];
}
