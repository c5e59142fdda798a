// Does not wait for what the sink says: an error ends in a `.catch` that logs, and the page is acknowledged.
// Shown by `refuse`. Named by `nothing_lost`: acknowledged without an effect.
import { Consumer } from "./plain.mjs";

class AcksFailures extends Consumer {
  async send(stream, entries) {
    await super.send(stream, entries).catch((error) => console.error(error.message));
  }
}

await new AcksFailures().run();
