"""How much a server can take, and which of several: on whole runs, and on the gate's rounds."""
