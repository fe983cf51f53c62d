"""How well a network does its task: float, C on the host, exported files, emulated core, over the same samples."""
