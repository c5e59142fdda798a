// A consumer of Redis Streams that loses nothing: `npm install`, then `node consumer.js`, with the variables below.
// Why it does each of these things is said in ../python/consumer.py.
import { Redis } from "ioredis";

const { SHOPBENCH_REDIS_URL: url, SHOPBENCH_GROUP: group, SHOPBENCH_CONSUMER: me, SHOPBENCH_PAGE: page } = process.env;
const { SHOPBENCH_STREAMS: names, SHOPBENCH_CLAIM_MS: claimMs, SHOPBENCH_EFFECTS: sink } = process.env;
const streams = names.split(" ");
let stopping = false, pauseMs = 50;
process.on("SIGTERM", () => (stopping = true));

async function hasEffects(ids) { // false: one of them is refused for good
  const body = JSON.stringify(ids), headers = { "Content-Type": "application/json" };
  const answer = await fetch(sink, { method: "POST", body, headers, signal: AbortSignal.timeout(5000) });
  await answer.arrayBuffer(); // only then the connection is free again
  if (![200, 422].includes(answer.status)) throw new Error(`the sink answers ${answer.status}`);
  return answer.status === 200;
}

async function handle(redis, stream, entries) { // the effects, and then the acknowledgement
  const idOf = ([, fields]) => fields[fields.indexOf("event_id") + 1];
  const there = entries.filter(([, fields]) => fields); // none: trimmed while it was pending
  if (there.length && !(await hasEffects(there.map(idOf))))
    for (const entry of there) {
      let attempts = 3;
      while (attempts && !(await hasEffects([idOf(entry)]))) attempts -= 1;
      if (!attempts) await redis.xadd(`${stream}:parked`, "*", ...entry[1]);
    }
  if (entries.length) await redis.xack(stream, group, ...entries.map(([entryId]) => entryId));
  pauseMs = 50;
}

async function consume(redis) {
  const read = async (from, ...some) =>
    (await redis.xreadgroup("GROUP", group, me, "COUNT", page, "BLOCK", 200, "STREAMS", ...some, ...some.map(() => from))) ?? [];
  for (const stream of streams) {
    await redis.xgroup("CREATE", stream, group, "0", "MKSTREAM").catch((error) => {
      if (!error.message.startsWith("BUSYGROUP")) throw error;
    });
    for (let own = [[]]; own.length && !stopping; await handle(redis, stream, own)) // what it had in hand comes first
      own = (await read("0", stream))[0][1];
  }
  for (let claimAt = 0; !stopping; ) {
    for (const stream of Date.now() < claimAt ? [] : streams) { // what others have left, also while nothing comes
      for (let from = "", left; from !== "0-0" && !stopping; await handle(redis, stream, left))
        [from, left] = await redis.xautoclaim(stream, group, me, claimMs, from || "0-0", "COUNT", page);
      claimAt = Date.now() + claimMs / 2;
    }
    for (const [stream, entries] of await read(">", ...streams)) await handle(redis, stream, entries);
  }
}

// No command is sent again behind our back: after any error all of it begins anew, on a new connection.
const options = { protocol: 2, retryStrategy: null, autoResendUnfulfilledCommands: false, commandTimeout: 5000 };
while (!stopping) {
  const redis = new Redis(url, { ...options, lazyConnect: true });
  redis.on("error", () => {}); // the command that fails says so, too
  try {
    await redis.connect();
    await consume(redis);
  } catch (error) {
    console.error(`again in ${pauseMs} ms: ${error.message}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    pauseMs = Math.min(2 * pauseMs, 1000);
  }
  redis.disconnect();
}
