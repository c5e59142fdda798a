// Tries an event that is refused for good again, for ever: it does not get past it.
// Shown by `poison`. Named by `nothing_lost`: pending, and never delivered what stands behind.
import { Consumer, Refused } from "./plain.mjs";

class StuckOnPoison extends Consumer {
  async park() {
    throw new Refused(422);
  }
}

await new StuckOnPoison().run();
