// Never reads what it had in hand, and nobody claims it: each kill leaves some, for good.
// Shown by `kill_in_batch`. Named by `nothing_lost`: pending.
import { Consumer } from "./plain.mjs";

class ForgetsPending extends Consumer {
  async *own() {}

  async *left() {}
}

await new ForgetsPending().run();
