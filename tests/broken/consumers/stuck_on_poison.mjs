// Tries an event that is refused for good again, for ever: it does not get past it.
// Shown by `poison`. Named by `nothing_lost`: pending, and never delivered what stands behind.
import { Consumer, Refused, sleep } from "./plain.mjs";

class StuckOnPoison extends Consumer {
  async park(stream, [, fields]) {
    while (!this.stopping) {
      await sleep(1000);
      try {
        return await this.post([fields[fields.indexOf("event_id") + 1]]);
      } catch (error) {
        if (error.status !== 422) throw error;
      }
    }
    throw new Refused(422);
  }
}

await new StuckOnPoison().run();
