// What the broken consumers in Node have in common: a loop that is done well, each part a method of its own.
// It needs no package: it speaks RESP over a socket, and HTTP by fetch. `plain.py` is the same in Python.
import net from "node:net";

const env = process.env;
export const group = env.SHOPBENCH_GROUP, me = env.SHOPBENCH_CONSUMER, page = env.SHOPBENCH_PAGE;
export const streams = env.SHOPBENCH_STREAMS.split(" "), claimMs = env.SHOPBENCH_CLAIM_MS;
const TIMEOUT_MS = 5000, BLOCK_MS = "200", REQUESTS_A_PAGE = 4;
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// One reply from `at` on: [what it says, where it ends]; null where it is not all there yet.
function parse(data, at) {
  const end = data.indexOf("\r\n", at);
  if (end < 0) return null;
  const rest = data.toString("utf8", at + 1, end), kind = String.fromCharCode(data[at]), next = end + 2;
  if (kind === "-") return [new Error(rest), next];
  if (kind === ":") return [Number(rest), next];
  if (rest === "-1") return [null, next];
  if (kind === "$") {
    const last = next + Number(rest);
    return data.length < last + 2 ? null : [data.toString("utf8", next, last), last + 2];
  }
  if (kind !== "*") return [rest, next];
  const all = [];
  let from = next;
  for (let left = Number(rest); left > 0; left -= 1) {
    const one = parse(data, from);
    if (!one) return null;
    all.push(one[0]);
    from = one[1];
  }
  return [all, from];
}

class Connection {
  constructor(url) {
    const { hostname, port, password, username } = new URL(url);
    this.data = Buffer.alloc(0);
    this.waiting = [];
    this.socket = net.connect({ host: hostname, port: Number(port || 6379) });
    this.socket.setTimeout(TIMEOUT_MS, () => this.socket.destroy(new Error("no answer in time")));
    this.socket.on("error", (error) => this.fail(error));
    this.socket.on("close", () => this.fail(new Error("the connection is closed")));
    this.socket.on("data", (data) => this.receive(data));
    if (password) this.call("AUTH", username || "default", password).catch(() => {});
  }

  receive(data) {
    this.data = Buffer.concat([this.data, data]);
    for (let one; (one = parse(this.data, 0)); ) {
      this.data = this.data.subarray(one[1]);
      const { resolve, reject } = this.waiting.shift();
      one[0] instanceof Error ? reject(one[0]) : resolve(one[0]);
    }
  }

  fail(error) {
    this.error ??= error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  call(...words) {
    if (this.error) return Promise.reject(this.error);
    const bulks = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    this.socket.write(`*${words.length}\r\n${bulks.join("")}`);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

export class Refused extends Error {
  constructor(status) {
    super(`the sink answers ${status}`);
    this.status = status;
  }
}

export class Consumer {
  stopping = false;

  async run() {
    let pauseMs = 50;
    process.on("SIGTERM", () => this.stop());
    while (!this.stopping) {
      this.redis = new Connection(env.SHOPBENCH_REDIS_URL);
      try {
        await this.makeGroups();
        for await (const [stream, entries] of this.pages()) {
          if (entries.length) await this.handle(stream, entries);
          pauseMs = 50;
        }
      } catch (error) {
        console.error(`again in ${pauseMs} ms: ${error.message}`);
        await sleep(pauseMs);
        pauseMs = Math.min(2 * pauseMs, 1000);
        this.after(error);
      }
      this.redis.socket.destroy();
    }
  }

  stop() {
    this.stopping = true;
  }

  after(_error) {}

  async makeGroups() {
    for (const stream of streams) await this.makeGroup(stream, "0");
  }

  async makeGroup(stream, from) {
    await this.redis.call("XGROUP", "CREATE", stream, group, from, "MKSTREAM").catch((error) => {
      if (!error.message.startsWith("BUSYGROUP")) throw error;
    });
  }

  async *pages() {
    yield* this.own();
    for (let claimAt = 0; !this.stopping; ) {
      if (Date.now() >= claimAt) {
        yield* this.left();
        claimAt = Date.now() + claimMs / 2;
      }
      yield* await this.read(streams, ">");
    }
  }

  async *own() {
    for (const stream of streams) {
      for (let more = true; more && !this.stopping; ) {
        const [[, entries]] = await this.read([stream], "0");
        more = entries.length > 0;
        yield [stream, entries];
      }
    }
  }

  async *left() {
    for (const stream of streams) {
      for (let from = ""; from !== "0-0" && !this.stopping; ) {
        const start = from || "0-0";
        const reply = await this.redis.call("XAUTOCLAIM", stream, group, me, claimMs, start, "COUNT", page);
        from = reply[0];
        yield [stream, reply[1]];
      }
    }
  }

  async read(some, from) {
    const words = ["GROUP", group, me, "COUNT", page, "BLOCK", BLOCK_MS, "STREAMS", ...some];
    return (await this.redis.call("XREADGROUP", ...words, ...some.map(() => from))) ?? [];
  }

  async handle(stream, entries) {
    await this.haveEffects(stream, entries);
    await this.acknowledge(stream, entries);
  }

  async haveEffects(stream, entries) {
    const size = Math.ceil(entries.length / REQUESTS_A_PAGE) || 1;
    for (let first = 0; first < entries.length; first += size)
      await this.send(stream, entries.slice(first, first + size));
  }

  async send(stream, entries) {
    try {
      await this.post(entries.map(([, fields]) => fields[fields.indexOf("event_id") + 1]));
    } catch (error) {
      if (error.status !== 422) throw error;
      if (entries.length === 1) await this.park(stream, entries[0]);
      else for (const entry of entries) await this.send(stream, [entry]);
    }
  }

  async park(stream, [, fields]) {
    await this.redis.call("XADD", `${stream}:parked`, "*", ...fields);
  }

  async post(ids) {
    const body = JSON.stringify(ids), headers = { "Content-Type": "application/json" };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(env.SHOPBENCH_EFFECTS, { method: "POST", body, headers, signal });
    await answer.arrayBuffer();
    if (answer.status !== 200) throw new Refused(answer.status);
  }

  async acknowledge(stream, entries) {
    await this.redis.call("XACK", stream, group, ...entries.map(([entryId]) => entryId));
  }
}
