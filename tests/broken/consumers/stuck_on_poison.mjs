// Tries an event that is refused for good again, for ever: it does not get past it.
// Shown by `poison`. Named by `drained`: it is never done, and goes on.
import { Consumer, Refused } from "./plain.mjs";

class StuckOnPoison extends Consumer {
  async park() {
    throw new Refused(422);
  }
}

await new StuckOnPoison().run();
