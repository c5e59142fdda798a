// Acknowledges a page, and then has its effects: what it has in hand when it is killed is gone.
// Shown by `refuse`, and by a `kill` that hits in the middle. Named by `nothing_lost`: acknowledged without an effect.
import { Consumer } from "./plain.mjs";

class AcksFirst extends Consumer {
  async handle(stream, entries) {
    await this.acknowledge(stream, entries);
    await this.haveEffects(stream, entries);
  }
}

await new AcksFirst().run();
