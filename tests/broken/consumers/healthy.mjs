// Not broken: the control. It passes whatever the others are caught by.
import { Consumer } from "./plain.mjs";

await new Consumer().run();
