// After an error it makes its groups anew, at `$`: what was published while it was away is skipped.
// Shown by `cut`. Named by `nothing_lost`: skipped by a group that was made anew.
import { Consumer, group, streams } from "./plain.mjs";

class AnewAtEnd extends Consumer {
  isDirty = false;

  after(_error) {
    this.isDirty = true;
  }

  async makeGroups() {
    for (const stream of streams) {
      if (this.isDirty) await this.redis.call("XGROUP", "DESTROY", stream, group);
      await this.makeGroup(stream, this.isDirty ? "$" : "0");
    }
    this.isDirty = false;
  }
}

await new AnewAtEnd().run();
